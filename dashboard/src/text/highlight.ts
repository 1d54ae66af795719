// Colours for code in messages: one scanner for the families of languages that agents write, in one pass over the text.
//
// It knows comments, strings, numbers and keywords, and is right about them most of the time; it never loses a
// character: the pieces joined are the text.

export type Tone = "plain" | "comment" | "string" | "number" | "keyword" | "added" | "removed";
export interface Piece {
  tone: Tone;
  text: string;
}

interface Language {
  comment: RegExp | null;
  keywords: ReadonlySet<string>;
}

const words = (text: string): ReadonlySet<string> => new Set(text.split(" "));

const C_LIKE = words(
  "abstract as async await boolean break case catch char class const continue default defer delete do double else enum export extends extern false final finally float fn for from func function go goto if impl implements import in instanceof int interface let long loop match mod move mut namespace new null nil of operator override package private protected pub public range readonly return self short sizeof static struct super switch template this throw throws trait true try type typedef typeof undefined union unsafe use using var virtual void where while yield",
);
const PYTHON = words(
  "and as assert async await break case class continue def del elif else except False finally for from global if import in is lambda match None nonlocal not or pass raise return self True try while with yield",
);
const SHELL = words(
  "case cd do done echo elif else esac exit export fi for function if in local return set sudo then unset while git npm pip python make docker",
);
const SQL = words(
  "and as asc begin by case commit count create delete desc distinct drop else end exists from group having in index insert into is join key left like limit not null on or order primary references rollback select set table then union unique update values view when where with",
);
const SLASHES = /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y;
const HASHES = /#[^\n]*/y;

const FAMILIES: [RegExp, Language][] = [
  [/^(?:js|jsx|ts|tsx|javascript|typescript|java|c|h|cpp|c\+\+|cs|csharp|go|golang|rust|rs|swift|kotlin|kt|scala|php|dart|css|scss)$/, { comment: SLASHES, keywords: C_LIKE }],
  [/^(?:py|python|pyi|python3)$/, { comment: HASHES, keywords: PYTHON }],
  [/^(?:sh|bash|zsh|shell|console|fish|dockerfile|makefile|make)$/, { comment: HASHES, keywords: SHELL }],
  [/^(?:ya?ml|toml|ini|conf|rb|ruby|perl|r)$/, { comment: HASHES, keywords: words("true false null yes no on off end def do") }],
  [/^(?:sql|psql|sqlite|postgres)$/, { comment: /--[^\n]*/y, keywords: SQL }],
  [/^(?:jsonc?|jsonl|json5)$/, { comment: null, keywords: words("true false null") }],
]; // biome-ignore format: a table

const STRING =
  /"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|`(?:\\.|[^`\\])*`?|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?/y;
const NUMBER = /\b(?:0[xob][\da-f_]+|\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\b/iy;
const WORD = /[\p{L}_$][\p{L}\p{N}_$]*/uy;
const OTHER = /[^\p{L}\p{N}_$"'`#/-]+|./suy;

/** The text of a block of code in pieces; of a language that is not known, one plain piece. */
export function highlight(text: string, language: string): Piece[] {
  const name = language.trim().toLowerCase().split(/\s/)[0] ?? "";
  if (name === "diff" || name === "patch") return diffPieces(text);
  const family = FAMILIES.find(([pattern]) => pattern.test(name))?.[1];
  return family === undefined ? [{ tone: "plain", text }] : scan(text, family, name.includes("sql"));
}

function scan(text: string, { comment, keywords }: Language, anyCase: boolean): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  const take = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0] || null;
  };
  const push = (tone: Tone, piece: string): void => {
    const last = pieces.at(-1);
    if (last?.tone === tone) last.text += piece;
    else pieces.push({ tone, text: piece });
    at += piece.length;
  };
  const rules: [Tone, RegExp][] = [
    ...(comment === null ? [] : [["comment", comment] as [Tone, RegExp]]),
    ["string", STRING],
    ["number", NUMBER],
    ["keyword", WORD],
    ["plain", OTHER],
  ];
  const next = (): [Tone, string] => {
    for (const [tone, pattern] of rules) {
      const piece = take(pattern);
      if (piece === null) continue;
      const known = tone !== "keyword" || keywords.has(anyCase ? piece.toLowerCase() : piece);
      return [known ? tone : "plain", piece];
    }
    return ["plain", text.charAt(at)];
  };
  while (at < text.length) push(...next());
  return pieces;
}

function diffPieces(text: string): Piece[] {
  return text.split(/(?<=\n)/).map((line) => ({
    tone: /^\+(?!\+\+)/.test(line)
      ? "added"
      : /^-(?!--)/.test(line)
        ? "removed"
        : /^(?:@@|diff|index)/.test(line)
          ? "comment"
          : "plain",
    text: line,
  }));
}
