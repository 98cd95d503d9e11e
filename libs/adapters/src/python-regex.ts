/**
 * Python's `re` for matching module names: PEFT configs hold patterns in its syntax, written by strangers.
 *
 * It answers whether a pattern matches, not how, so it keeps the set of positions where each part may end instead of
 * backtracking: time is bounded by pattern × name², whatever the pattern. What depends on the order of attempts
 * (back-references, atomic groups, possessive repeats) is refused as unsupported, never approximated.
 */

/** `unsupported`: Python would take it, Weft doesn't. Otherwise Python refuses it too. */
export class PatternError extends Error {
  constructor(message: string, readonly unsupported = false) {
    super(message);
    this.name = 'PatternError';
  }
}

/** Steps that all patterns of an adapter may take together: less than a second of work. */
export class MatchBudget {
  constructor(public steps = 5_000_000) {}
  spend(steps: number): void {
    if ((this.steps -= steps) < 0) throw new PatternError('its patterns take too long to match', true);
  }
}

/** Longer patterns than any trainer writes. */
const PATTERN_CHARS_MAX = 16_384;
const DEPTH_MAX = 100;
const REPEAT_MAX = 1_000_000;

type Test = (char: number) => boolean;
type Node =
  | { kind: 'char'; id: number; test: Test }
  | { kind: 'sequence'; id: number; items: Node[] }
  | { kind: 'choice'; id: number; items: Node[] }
  | { kind: 'repeat'; id: number; item: Node; min: number; max: number }
  | { kind: 'look'; id: number; item: Node; ahead: boolean; negated: boolean }
  | { kind: 'anchor'; id: number; holds: (text: string, at: number) => boolean };

const code = (char: string): number => char.charCodeAt(0);
const between = (low: string, high: string): Test => char => char >= code(low) && char <= code(high);
const digit = between('0', '9');
const word: Test = char => digit(char) || between('a', 'z')(char) || between('A', 'Z')(char) || char === code('_');
const space: Test = char => char === 32 || (char >= 9 && char <= 13) || (char >= 28 && char <= 31);
const not = (test: Test): Test => char => !test(char);
const CLASSES: Readonly<Record<string, Test>> = { d: digit, D: not(digit), w: word, W: not(word), s: space, S: not(space) };
const CONTROLS: Readonly<Record<string, number>> = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 };

const atWord = (text: string, at: number): boolean => at < text.length && word(text.charCodeAt(at));
const boundary = (text: string, at: number): boolean => atWord(text, at) !== (at > 0 && atWord(text, at - 1));
const atEnd = (text: string, at: number): boolean => at === text.length;
const ANCHORS: Readonly<Record<string, (text: string, at: number) => boolean>> = {
  '^': (_, at) => at === 0,
  $: (text, at) => atEnd(text, at) || (at === text.length - 1 && text[at] === '\n'),
  '\\A': (_, at) => at === 0, '\\Z': atEnd, '\\b': boundary, '\\B': (text, at) => text.length > 0 && !boundary(text, at),
};

class Parser {
  #at = 0;
  #nodes = 0;
  readonly #names = new Set<string>();
  constructor(readonly source: string) {
    if (source.length > PATTERN_CHARS_MAX) throw new PatternError(`it has ${source.length} characters; the limit is ${PATTERN_CHARS_MAX}`, true);
  }

  parse(): { root: Node; nodes: number } {
    const root = this.#choice(0);
    if (this.#at < this.source.length) throw this.#error('unbalanced parenthesis');
    return { root, nodes: this.#nodes };
  }

  #id(): number { return this.#nodes++; }

  #choice(depth: number): Node {
    if (depth > DEPTH_MAX) throw new PatternError(`its groups are nested deeper than ${DEPTH_MAX}`, true);
    const items = [this.#sequence(depth)];
    while (this.#takes('|')) items.push(this.#sequence(depth));
    return items.length === 1 ? items[0]! : { kind: 'choice', id: this.#id(), items };
  }

  #sequence(depth: number): Node {
    const items: Node[] = [];
    while (this.#at < this.source.length && this.source[this.#at] !== '|' && this.source[this.#at] !== ')') {
      items.push(this.#repeated(this.#atom(depth)));
    }
    return { kind: 'sequence', id: this.#id(), items };
  }

  #repeated(item: Node): Node {
    const bounds = this.#quantifier();
    if (!bounds) return item;
    if (item.kind === 'anchor') throw this.#error('nothing to repeat');
    if (this.source[this.#at] === '+') throw new PatternError(`possessive repeats (at ${this.#at})`, true);
    this.#takes('?');       // lazy: the same names match
    if (this.#quantifier()) throw this.#error('multiple repeat');
    return { kind: 'repeat', id: this.#id(), item, ...bounds };
  }

  #quantifier(): { min: number; max: number } | null {
    if (this.#takes('*')) return { min: 0, max: Infinity };
    if (this.#takes('+')) return { min: 1, max: Infinity };
    if (this.#takes('?')) return { min: 0, max: 1 };
    const braces = /^\{(\d*)(?:(,)(\d*))?\}/.exec(this.source.slice(this.#at, this.#at + 32));
    // Python takes "{", "{}" and "{a" as plain characters.
    if (!braces || (!braces[1] && !braces[2])) return null;
    const min = Number(braces[1] || 0);
    const max = braces[2] ? (braces[3] ? Number(braces[3]) : Infinity) : min;
    if (max < min) throw this.#error('min repeat greater than max repeat');
    if (min > REPEAT_MAX || (max > REPEAT_MAX && max !== Infinity)) throw new PatternError(`a repeat above ${REPEAT_MAX}`, true);
    this.#at += braces[0].length;
    return { min, max };
  }

  #atom(depth: number): Node {
    const char = this.source[this.#at++]!;
    switch (char) {
      case '(': return this.#group(depth);
      case '[': return this.#char(this.#set());
      case '.': return this.#char(found => found !== 10);
      case '^': case '$': return { kind: 'anchor', id: this.#id(), holds: ANCHORS[char]! };
      case '*': case '+': case '?': throw this.#error('nothing to repeat');
      case '{': {
        this.#at--;
        if (this.#quantifier()) throw this.#error('nothing to repeat');
        this.#at++;
        return this.#char(this.#is('{'));
      }
      case '\\': {
        const anchor = ANCHORS[`\\${this.source[this.#at] ?? ''}`];
        if (!anchor) return this.#char(this.#escape(false).test);
        this.#at++;
        return { kind: 'anchor', id: this.#id(), holds: anchor };
      }
      default: return this.#char(this.#is(char));
    }
  }

  #group(depth: number): Node {
    if (!this.#takes('?')) return this.#closed(depth);
    if (this.#takes(':')) return this.#closed(depth);
    if (this.#takes('P<')) {
      const name = /^[A-Za-z_][A-Za-z0-9_]*>/.exec(this.source.slice(this.#at))?.[0];
      if (!name) throw this.#error('bad group name');
      if (this.#names.has(name)) throw this.#error(`redefinition of group ${name.slice(0, -1)}`);
      this.#names.add(name);
      this.#at += name.length;
      return this.#closed(depth);
    }
    for (const [opening, ahead, negated] of [['=', true, false], ['!', true, true], ['<=', false, false], ['<!', false, true]] as const) {
      if (this.#takes(opening)) return { kind: 'look', id: this.#id(), ahead, negated, item: this.#closed(depth) };
    }
    const rest = this.source.slice(this.#at);
    const unsupported = /^P=/.test(rest) ? 'named back-references' : /^>/.test(rest) ? 'atomic groups' : /^\(/.test(rest) ? 'conditional groups'
      : /^#/.test(rest) ? 'comments' : /^[aiLmsux-]/.test(rest) ? 'inline flags' : null;
    if (unsupported) throw new PatternError(`${unsupported} (at ${this.#at})`, true);
    throw this.#error('unknown extension after (?');
  }

  #closed(depth: number): Node {
    const inner = this.#choice(depth + 1);
    if (!this.#takes(')')) throw this.#error('missing ), unterminated subpattern');
    // A group is its own node even around an anchor: (^)* may be repeated, ^* may not.
    return { kind: 'sequence', id: this.#id(), items: [inner] };
  }

  #set(): Test {
    const negated = this.#takes('^');
    const tests: Test[] = [];
    for (let first = true; first || this.source[this.#at] !== ']'; first = false) {
      const low = this.#setItem();
      if (this.source[this.#at] !== '-' || this.source[this.#at + 1] === ']') { tests.push(low.test); continue; }
      this.#at++;
      const high = this.#setItem();
      if (low.value === null || high.value === null || low.value > high.value) throw this.#error('bad character range');
      const [from, to] = [low.value, high.value];
      tests.push(char => char >= from && char <= to);
    }
    this.#at++;
    const any: Test = char => tests.some(test => test(char));
    return negated ? not(any) : any;
  }

  #setItem(): { test: Test; value: number | null } {
    const char = this.source[this.#at];
    if (char === undefined) throw this.#error('unterminated character set');
    this.#at++;
    return char === '\\' ? this.#escape(true) : { test: this.#is(char), value: code(char) };
  }

  /** After a backslash. value: the one character it stands for, null for a class. */
  #escape(inSet: boolean): { test: Test; value: number | null } {
    const name = this.source[this.#at++];
    if (name === undefined) throw this.#error('bad escape (end of pattern)');
    const category = CLASSES[name];
    if (category) return { test: category, value: null };
    const value = this.#escapedCode(name, inSet);
    return { test: char => char === value, value };
  }

  #escapedCode(name: string, inSet: boolean): number {
    if (name === 'x' || name === 'u') {
      const length = name === 'x' ? 2 : 4;
      const digits = this.source.slice(this.#at, this.#at + length);
      if (digits.length < length || /[^0-9a-fA-F]/.test(digits)) throw this.#error(`incomplete escape \\${name}${digits}`);
      this.#at += length;
      return parseInt(digits, 16);
    }
    if (digit(code(name))) {
      const octal = /^(?:0[0-7]{0,2}|[1-3][0-7]{2})/.exec(this.source.slice(this.#at - 1, this.#at + 2))?.[0];
      if (!octal) throw inSet ? this.#error(`bad escape \\${name}`) : new PatternError(`back-references (at ${this.#at})`, true);
      this.#at += octal.length - 1;
      return parseInt(octal, 8);
    }
    const control = CONTROLS[name];
    if (control !== undefined && (name !== 'b' || inSet)) return control;
    if (/[A-Za-z]/.test(name)) throw this.#error(`bad escape \\${name}`);
    return code(name);
  }

  #is(char: string): Test {
    const value = code(char);
    return found => found === value;
  }
  #char(test: Test): Node { return { kind: 'char', id: this.#id(), test }; }

  #takes(text: string): boolean {
    if (!this.source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #error(message: string): PatternError { return new PatternError(`${message} at position ${this.#at}`); }
}

/** A compiled pattern. Throws PatternError. */
export class PythonPattern {
  readonly #root: Node;
  readonly #nodes: number;
  constructor(readonly source: string, readonly budget: MatchBudget = new MatchBudget()) {
    const { root, nodes } = new Parser(source).parse();
    this.#root = root;
    this.#nodes = nodes;
  }

  /** `re.fullmatch(pattern, text)` finds something. */
  fullMatch(text: string): boolean { return this.#ends(text).has(text.length); }

  /** `re.match(pattern, text)` finds something: at the beginning, any end. */
  match(text: string): boolean { return this.#ends(text).size > 0; }

  #ends(text: string): ReadonlySet<number> {
    return new Matcher(text, this.#nodes, this.budget).ends(this.#root, 0);
  }
}

/** Where a node may end if it begins at a position; each pair is worked out once. */
class Matcher {
  readonly #known = new Map<number, ReadonlySet<number>>();
  constructor(readonly text: string, readonly nodes: number, readonly budget: MatchBudget) {}

  ends(node: Node, at: number): ReadonlySet<number> {
    const key = at * this.nodes + node.id;
    let ends = this.#known.get(key);
    if (!ends) this.#known.set(key, ends = this.#work(node, at));
    return ends;
  }

  #work(node: Node, at: number): ReadonlySet<number> {
    this.budget.spend(1);
    switch (node.kind) {
      case 'char': return at < this.text.length && node.test(this.text.charCodeAt(at)) ? new Set([at + 1]) : new Set();
      case 'anchor': return node.holds(this.text, at) ? new Set([at]) : new Set();
      case 'look': return this.#looks(node.item, at, node.ahead) !== node.negated ? new Set([at]) : new Set();
      case 'sequence': {
        let ends: ReadonlySet<number> = new Set([at]);
        for (const item of node.items) ends = this.#step(item, ends);
        return ends;
      }
      case 'choice': {
        const ends = new Set<number>();
        for (const item of node.items) for (const end of this.ends(item, at)) ends.add(end);
        return ends;
      }
      case 'repeat': return this.#repeat(node.item, at, node.min, node.max);
    }
  }

  #step(item: Node, from: ReadonlySet<number>): ReadonlySet<number> {
    const ends = new Set<number>();
    for (const at of from) {
      const reached = this.ends(item, at);
      this.budget.spend(1 + reached.size);
      for (const end of reached) ends.add(end);
    }
    return ends;
  }

  #repeat(item: Node, at: number, min: number, max: number): ReadonlySet<number> {
    // After length + 1 rounds some round stood still and may be repeated or left out: the set changes no more.
    const rounds = this.text.length + 1;
    let frontier: ReadonlySet<number> = new Set([at]);
    for (let i = 0; i < Math.min(min, rounds) && frontier.size > 0; i++) frontier = this.#step(item, frontier);
    const ends = new Set(frontier);
    for (let i = min; i < max && frontier.size > 0; i++) {
      const next = new Set<number>();
      for (const end of this.#step(item, frontier)) if (!ends.has(end)) { ends.add(end); next.add(end); }
      frontier = next;
    }
    return ends;
  }

  #looks(item: Node, at: number, ahead: boolean): boolean {
    if (ahead) return this.ends(item, at).size > 0;
    for (let start = at; start >= 0; start--) if (this.ends(item, start).has(at)) return true;
    return false;
  }
}
