// Messages as Markdown, from an allow-list into nodes: what is not listed here is shown as the text it is.
//
// Nothing is ever parsed as HTML. Links go to http and https only and open apart from the page; images are not loaded,
// they become links; HTML is text. What is drawn may be bounded in elements: blocks that have no room are left out, and
// what is inside a line is then the text as it was written.

import { Lexer, type Token, type Tokens } from "marked";
import type { ComponentChild, VNode } from "preact";
import { highlight } from "./highlight";
import { upright } from "./visible";

const DEPTH = 16; // deeper nesting is shown as text
const REMEMBERED = 400;

const parsed = new Map<string, Token[] | null>();

/** The blocks of a text; null if it is not to be understood. The last few hundred are remembered. */
function parse(text: string): Token[] | null {
  const known = parsed.get(text);
  if (known !== undefined) return known;
  let tokens: Token[] | null;
  try {
    tokens = new Lexer({ gfm: true, breaks: true }).lex(text);
  } catch {
    tokens = null; // a text that was made to break parsers
  }
  parsed.set(text, tokens);
  if (parsed.size > REMEMBERED) parsed.delete(parsed.keys().next().value ?? "");
  return tokens;
}

/** What the renderer needs to know of the world: which names are those of agents. */
export type IsName = (name: string) => boolean;

/** A text as nodes, of at most about `room` elements: how many there are, and whether something was left out. */
export interface Drawn {
  nodes: ComponentChild[];
  elements: number;
  short: boolean;
}

export function draw(text: string, isName: IsName, room = Number.POSITIVE_INFINITY): Drawn {
  const tokens = parse(text);
  const look = new Look(isName, room);
  const nodes = tokens === null ? [<p class="literal">{plain(text, look)}</p>] : blocks(tokens, look, 0);
  return { nodes, elements: look.used, short: look.short };
}

export function Markdown({ text, isName }: { text: string; isName: IsName }): VNode {
  return <>{draw(text, isName).nodes}</>;
}

/** How one text is drawn: for whom, and how many elements it may still have. */
class Look {
  used = 0;
  short = false;

  constructor(
    readonly isName: IsName,
    private readonly room: number,
  ) {}

  /** Take so many elements, if there is room for them. */
  take(elements = 1): boolean {
    if (this.used + elements > this.room) {
      this.short = true;
      return false;
    }
    this.used += elements;
    return true;
  }

  /** Take so many in any case: a block is drawn also where there is little room. */
  count(elements = 1): void {
    this.used += elements;
  }

  /** As many of a row as there is room for; at least the first. */
  fitting<Each>(row: readonly Each[], made: (each: Each) => ComponentChild): ComponentChild[] {
    const found: ComponentChild[] = [];
    for (const each of row) {
      if (found.length > 0 && this.used >= this.room) {
        this.short = true;
        break;
      }
      found.push(made(each));
    }
    return found;
  }
}

function blocks(tokens: readonly Token[], look: Look, depth: number): ComponentChild[] {
  return look.fitting(tokens, (token) => block(token, look, depth));
}

function block(token: Token, look: Look, depth: number): ComponentChild {
  if (token.type === "space") return null;
  if (token.type === "text") {
    const { tokens, text } = token as Tokens.Text;
    return tokens === undefined ? words(text, look) : inline(tokens, look, depth + 1);
  }
  look.count(token.type === "code" ? 2 : 1);
  if (depth > DEPTH) return <p class="literal">{plain(token.raw, look)}</p>;
  switch (token.type) {
    case "hr":
      return <hr />;
    case "paragraph":
      return <p>{inline((token as Tokens.Paragraph).tokens, look, depth + 1)}</p>;
    case "heading": {
      const { tokens, depth: level } = token as Tokens.Heading;
      return <p class={`heading h${level}`}>{inline(tokens, look, depth + 1)}</p>;
    }
    case "code": {
      const { text, lang } = token as Tokens.Code;
      return CodeBlock({ text, language: lang ?? "", look }); // called, so that its elements are counted now
    }
    case "blockquote":
      return <blockquote>{blocks((token as Tokens.Blockquote).tokens, look, depth + 1)}</blockquote>;
    case "list":
      return list(token as Tokens.List, look, depth);
    case "table":
      return table(token as Tokens.Table, look, depth);
    default:
      return <p class="literal">{plain(token.raw, look)}</p>;
  }
}

function list(token: Tokens.List, look: Look, depth: number): VNode {
  const items = look.fitting(token.items, (item) => {
    look.count(item.task ? 2 : 1);
    return (
      <li class={item.task ? "todo" : undefined}>
        {item.task && (
          <input
            type="checkbox"
            checked={item.checked === true}
            disabled
            aria-label={item.checked ? "done" : "not done"}
          />
        )}
        {blocks(
          item.tokens.filter((inner) => inner.type !== "checkbox"),
          look,
          depth + 1,
        )}
      </li>
    );
  });
  const start = typeof token.start === "number" ? token.start : 1;
  return token.ordered ? <ol start={start}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table, look: Look, depth: number): VNode {
  const cells = (row: Tokens.TableCell[], Cell: "th" | "td"): VNode => {
    look.count(1 + row.length);
    return (
      <tr>
        {row.map((cell) => (
          <Cell>{inline(cell.tokens, look, depth + 1)}</Cell>
        ))}
      </tr>
    );
  };
  look.count(3);
  return (
    <div class="table" tabIndex={0} role="region" aria-label="table">
      <table>
        <thead>{cells(token.header, "th")}</thead>
        <tbody>{look.fitting(token.rows, (row) => cells(row, "td"))}</tbody>
      </table>
    </div>
  );
}

function inline(tokens: readonly Token[], look: Look, depth: number): ComponentChild[] {
  return tokens.map((token) => span(token, look, depth));
}

function span(token: Token, look: Look, depth: number): ComponentChild {
  if (depth > DEPTH) return plain(token.raw, look);
  const inner = (): ComponentChild[] => inline((token as { tokens?: Token[] }).tokens ?? [], look, depth + 1);
  switch (token.type) {
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens === undefined ? words(text, look) : inline(tokens, look, depth + 1);
    }
    case "escape":
      return plain((token as Tokens.Escape).text, look);
  }
  if (!look.take()) return plain(token.raw, look);
  switch (token.type) {
    case "strong":
      return <strong>{inner()}</strong>;
    case "em":
      return <em>{inner()}</em>;
    case "del":
      return <del>{inner()}</del>;
    case "codespan":
      return <code>{plain((token as Tokens.Codespan).text, look)}</code>;
    case "br":
      return <br />;
    case "link":
      return link((token as Tokens.Link).href, inner(), token.raw, look);
    case "image": {
      const { href, text } = token as Tokens.Image;
      return link(href, [`image: ${text || href}`], token.raw, look);
    }
    default:
      return plain(token.raw, look);
  }
}

/** A link if it is one to the web, else the text that was written. */
function link(href: string, children: ComponentChild[], raw: string, look: Look): ComponentChild {
  const address = webAddress(href);
  if (address === null) return plain(raw, look);
  return (
    <a href={address} title={address} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

export function webAddress(href: string): string | null {
  try {
    const url = new URL(href);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

const MENTION = /(^|[^\p{L}\p{N}@/.])@([A-Za-z0-9][A-Za-z0-9._-]{0,63})/gu;

/** Text with the mentions of agents in it set off. */
function words(text: string, look: Look): ComponentChild[] {
  const found: ComponentChild[] = [];
  let end = 0;
  for (const match of text.matchAll(MENTION)) {
    const name = longestName(match[2] ?? "", look.isName);
    if (name === null || !look.take()) continue;
    const start = match.index + (match[1] ?? "").length;
    found.push(...plain(text.slice(end, start), look), <span class="mention">@{name}</span>);
    end = start + 1 + name.length;
  }
  found.push(...plain(text.slice(end), look));
  return found;
}

/** A mention may be followed by a full stop or the like, which names allow inside. */
function longestName(written: string, isName: IsName): string | null {
  for (
    let name = written;
    name !== "";
    name = name.replace(/[._-]*$/, "") === name ? "" : name.replace(/[._-]+$/, "")
  ) {
    if (isName(name)) return name;
  }
  return null;
}

/** Text with everything unseen in it marked, set off as long as there is room for that. */
function plain(text: string, look?: Look): ComponentChild[] {
  return upright(text).map((part) =>
    part.mark === undefined || look?.take() === false ? (
      part.text
    ) : (
      <span class="unseen" title={part.mark}>
        {part.text}
      </span>
    ),
  );
}

export function CodeBlock({ text, language, look }: { text: string; language: string; look?: Look }): VNode {
  const pieces = highlight(text, language);
  const coloured = look?.take(pieces.filter((piece) => piece.tone !== "plain").length) !== false;
  return (
    <pre class="code" dir="ltr" tabIndex={0} role="group" aria-label={language ? `${language} code` : "code"}>
      <code>
        {coloured
          ? pieces.flatMap(({ tone, text: piece }) =>
              tone === "plain" ? plain(piece, look) : [<span class={`t-${tone}`}>{plain(piece, look)}</span>],
            )
          : plain(text, look)}
      </code>
    </pre>
  );
}
