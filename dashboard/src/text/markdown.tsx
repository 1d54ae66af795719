// Messages as Markdown, from an allow-list into nodes: what is not listed here is shown as the text it is.
//
// Nothing is ever parsed as HTML. Links go to http and https only and open apart from the page; images are not loaded,
// they become links; HTML is text.

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

export function Markdown({ text, isName }: { text: string; isName: IsName }): VNode {
  const tokens = parse(text);
  return <>{tokens === null ? <p class="literal">{plain(text)}</p> : blocks(tokens, isName, 0)}</>;
}

function blocks(tokens: readonly Token[], isName: IsName, depth: number): ComponentChild[] {
  return tokens.map((token) => block(token, isName, depth));
}

function block(token: Token, isName: IsName, depth: number): ComponentChild {
  if (depth > DEPTH) return <p class="literal">{plain(token.raw)}</p>;
  switch (token.type) {
    case "space":
      return null;
    case "hr":
      return <hr />;
    case "paragraph":
      return <p>{inline((token as Tokens.Paragraph).tokens, isName, depth + 1)}</p>;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens === undefined ? words(text, isName) : inline(tokens, isName, depth + 1);
    }
    case "heading": {
      const { tokens, depth: level } = token as Tokens.Heading;
      return <p class={`heading h${level}`}>{inline(tokens, isName, depth + 1)}</p>;
    }
    case "code": {
      const { text, lang } = token as Tokens.Code;
      return <CodeBlock text={text} language={lang ?? ""} />;
    }
    case "blockquote":
      return <blockquote>{blocks((token as Tokens.Blockquote).tokens, isName, depth + 1)}</blockquote>;
    case "list":
      return list(token as Tokens.List, isName, depth);
    case "table":
      return table(token as Tokens.Table, isName, depth);
    default:
      return <p class="literal">{plain(token.raw)}</p>;
  }
}

function list(token: Tokens.List, isName: IsName, depth: number): VNode {
  const items = token.items.map((item) => (
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
        isName,
        depth + 1,
      )}
    </li>
  ));
  const start = typeof token.start === "number" ? token.start : 1;
  return token.ordered ? <ol start={start}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table, isName: IsName, depth: number): VNode {
  const cells = (row: Tokens.TableCell[], Cell: "th" | "td"): VNode => (
    <tr>
      {row.map((cell) => (
        <Cell>{inline(cell.tokens, isName, depth + 1)}</Cell>
      ))}
    </tr>
  );
  return (
    <div class="table" tabIndex={0} role="region" aria-label="table">
      <table>
        <thead>{cells(token.header, "th")}</thead>
        <tbody>{token.rows.map((row) => cells(row, "td"))}</tbody>
      </table>
    </div>
  );
}

function inline(tokens: readonly Token[], isName: IsName, depth: number): ComponentChild[] {
  return tokens.map((token) => span(token, isName, depth));
}

function span(token: Token, isName: IsName, depth: number): ComponentChild {
  if (depth > DEPTH) return plain(token.raw);
  const inner = (): ComponentChild[] => inline((token as { tokens?: Token[] }).tokens ?? [], isName, depth + 1);
  switch (token.type) {
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens === undefined ? words(text, isName) : inline(tokens, isName, depth + 1);
    }
    case "escape":
      return plain((token as Tokens.Escape).text);
    case "strong":
      return <strong>{inner()}</strong>;
    case "em":
      return <em>{inner()}</em>;
    case "del":
      return <del>{inner()}</del>;
    case "codespan":
      return <code>{plain((token as Tokens.Codespan).text)}</code>;
    case "br":
      return <br />;
    case "link":
      return link((token as Tokens.Link).href, inner(), token.raw);
    case "image": {
      const { href, text } = token as Tokens.Image;
      return link(href, [`image: ${text || href}`], token.raw);
    }
    default:
      return plain(token.raw);
  }
}

/** A link if it is one to the web, else the text that was written. */
function link(href: string, children: ComponentChild[], raw: string): ComponentChild {
  const address = webAddress(href);
  if (address === null) return plain(raw);
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
function words(text: string, isName: IsName): ComponentChild[] {
  const found: ComponentChild[] = [];
  let end = 0;
  for (const match of text.matchAll(MENTION)) {
    const name = longestName(match[2] ?? "", isName);
    if (name === null) continue;
    const start = match.index + (match[1] ?? "").length;
    found.push(...plain(text.slice(end, start)), <span class="mention">@{name}</span>);
    end = start + 1 + name.length;
  }
  found.push(...plain(text.slice(end)));
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

function plain(text: string): ComponentChild[] {
  return upright(text).map((part) =>
    part.mark === undefined ? (
      part.text
    ) : (
      <span class="unseen" title={part.mark}>
        {part.text}
      </span>
    ),
  );
}

export function CodeBlock({ text, language }: { text: string; language: string }): VNode {
  return (
    <pre class="code" dir="ltr" tabIndex={0} role="group" aria-label={language ? `${language} code` : "code"}>
      <code>
        {highlight(text, language).flatMap(({ tone, text: piece }) =>
          tone === "plain" ? plain(piece) : [<span class={`t-${tone}`}>{plain(piece)}</span>],
        )}
      </code>
    </pre>
  );
}
