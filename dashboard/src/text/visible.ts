// Makes visible what a reader would not see: control characters, bidirectional controls, zero-width and odd spaces.
//
// Source of the ranges: the Unicode categories Cc, Cf, Co, Cs, Zl, Zp, the property Default_Ignorable_Code_Point (which
// has unassigned ones, too), the space separators beyond U+0020, and the blank Braille pattern.

export interface Part {
  text: string;
  /** Set for what would not be seen: how it is called. `text` is then a stand-in, not the character. */
  mark?: string;
}

// biome-ignore format: a table
const NAMES: Record<string, string> = {
  "U+0000": "NUL", "U+0007": "BEL", "U+0008": "BACKSPACE", "U+000B": "VT", "U+000C": "FF", "U+000D": "CR",
  "U+001B": "ESC", "U+007F": "DEL", "U+00A0": "NO-BREAK SPACE", "U+00AD": "SOFT HYPHEN",
  "U+061C": "ARABIC LETTER MARK", "U+200B": "ZERO WIDTH SPACE", "U+200C": "ZERO WIDTH NON-JOINER",
  "U+200D": "ZERO WIDTH JOINER", "U+200E": "LEFT-TO-RIGHT MARK", "U+200F": "RIGHT-TO-LEFT MARK",
  "U+202A": "LEFT-TO-RIGHT EMBEDDING", "U+202B": "RIGHT-TO-LEFT EMBEDDING", "U+202C": "POP DIRECTIONAL FORMATTING",
  "U+202D": "LEFT-TO-RIGHT OVERRIDE", "U+202E": "RIGHT-TO-LEFT OVERRIDE", "U+2028": "LINE SEPARATOR",
  "U+2029": "PARAGRAPH SEPARATOR", "U+202F": "NARROW NO-BREAK SPACE", "U+2060": "WORD JOINER",
  "U+2066": "LEFT-TO-RIGHT ISOLATE", "U+2067": "RIGHT-TO-LEFT ISOLATE", "U+2068": "FIRST STRONG ISOLATE",
  "U+2069": "POP DIRECTIONAL ISOLATE", "U+3000": "IDEOGRAPHIC SPACE", "U+FEFF": "BYTE ORDER MARK",
};

// Everything but tab and line feed that prints nothing, or a space that is not the usual one.
const UNSEEN = String.raw`[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u2800]`;
const UNSEEN_ALL = new RegExp(`(?:(?![\\t\\n])${UNSEEN})+`, "gu");
// Only what turns the order of other characters around: what chat messages must not do either.
const TURNING_ALL = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu;

function codeOf(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function nameOf(character: string): string {
  const code = codeOf(character);
  const name = NAMES[code];
  return name === undefined ? code : `${code} ${name}`;
}

/** The text with everything unseen marked; tabs and line feeds stay. No character is lost or added without a mark. */
export function visible(text: string): Part[] {
  return split(text, UNSEEN_ALL);
}

/** The text of a message: only what could turn other text around is marked. */
export function upright(text: string): Part[] {
  return split(text, TURNING_ALL);
}

function split(text: string, pattern: RegExp): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const found of text.matchAll(pattern)) {
    if (found.index > end) parts.push({ text: text.slice(end, found.index) });
    for (const run of runsOf([...found[0]])) {
      const times = run.length > 1 ? `×${run.length}` : "";
      parts.push({ text: `${codeOf(run[0] ?? "")}${times}`, mark: nameOf(run[0] ?? "") + (times && ` ${times}`) });
    }
    end = found.index + found[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

/** Equal characters in a row, together. */
function runsOf(characters: string[]): string[][] {
  const runs: string[][] = [];
  for (const character of characters) {
    const last = runs.at(-1);
    if (last?.[0] === character) last.push(character);
    else runs.push([character]);
  }
  return runs;
}
