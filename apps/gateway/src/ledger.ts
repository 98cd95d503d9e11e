import { Injectable } from '@nestjs/common';

/** A request as it is written down before its first byte. The id is the server's own. */
export interface LedgerEntry { requestId: string; tenant: string; model: string; digest: string; openedAtMs: number }

export interface Usage { promptTokens: number; cachedTokens: number; generatedTokens: number; billedTokens: number }

/** Every request is opened once and closed once, with what it used. Entries are kept in this process's memory. */
@Injectable()
export class Ledger {
  readonly #open = new Map<string, LedgerEntry>();
  #closed = 0;
  #billedTokens = 0;

  async open(entry: LedgerEntry): Promise<void> { this.#open.set(entry.requestId, entry); }

  /** Before the response's last byte. A second close of the same request is none. */
  async close(requestId: string, usage: Usage): Promise<void> {
    if (!this.#open.delete(requestId)) return;
    this.#closed++;
    this.#billedTokens += usage.billedTokens;
  }

  get counts(): { open: number; closed: number; billedTokens: number } {
    return { open: this.#open.size, closed: this.#closed, billedTokens: this.#billedTokens };
  }
}
