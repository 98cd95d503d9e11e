/** Columns as wide as their widest cell; `right` names those of numbers. */
export function table(header: string[], rows: string[][], right: readonly string[] = []): string {
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map(row => row[i]!.length)));
  const line = (cells: string[]): string => cells.map((cell, i) => (right.includes(header[i]!) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join('  ').trimEnd();
  return [line(header), line(widths.map(width => '─'.repeat(width))), ...rows.map(line)].join('\n');
}

/** One line of at most `width` characters, without those that steer a terminal. */
export function oneLine(text: string, width: number): string {
  const flat = text.replace(/[\s\p{Cc}]+/gu, ' ').trim();
  const letters = Array.from(flat);
  return letters.length > width ? `${letters.slice(0, width - 1).join('')}…` : flat;
}

/** A model's words as a terminal may have them: without what would steer it. */
export const printable = (text: string): string => text.replace(/(?![\n\t])\p{Cc}/gu, '');
