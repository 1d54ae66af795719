import { render } from "preact";
import { describe, expect, it } from "vitest";
import { diffLines } from "../src/text/diff";
import { highlight } from "../src/text/highlight";
import { draw, Markdown, webAddress } from "../src/text/markdown";
import { upright, visible } from "../src/text/visible";

function shown(text: string, names: string[] = []): HTMLElement {
  const place = document.createElement("div");
  render(<Markdown text={text} isName={(name) => names.includes(name)} />, place);
  return place;
}

const ALLOWED = new Set(
  "P STRONG EM DEL CODE PRE SPAN BR A UL OL LI INPUT BLOCKQUOTE HR DIV TABLE THEAD TBODY TR TH TD".split(" "),
);

const ATTACKS = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "<svg/onload=alert(1)>",
  "<iframe srcdoc='<script>alert(1)</script>'>",
  "<a href=javascript:alert(1)>x</a>",
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](data:text/html,<script>alert(1)</script>)",
  "[x](vbscript:msgbox(1))",
  "[x](\u0001javascript:alert(1))",
  "[x](java\tscript:alert(1))",
  "[x](//evil.example)",
  "[x](/etc/passwd)",
  "[x](file:///etc/passwd)",
  "![x](javascript:alert(1))",
  "![x](http://evil.example/a.png)",
  '[x](http://a.example "onmouseover=alert(1)")',
  "[x]: javascript:alert(1)\n\n[x]",
  "<style>*{display:none}</style>",
  "<base href=http://evil.example>",
  "<form action=http://evil.example><button>x</button></form>",
  "<!--><script>alert(1)</script>-->",
  "```<script>\nalert(1)\n```",
  "```js onload=alert(1)\nx\n```",
  "`<img src=x onerror=alert(1)>`",
  "| <img src=x onerror=alert(1)> | b |\n|---|---|\n| <script>1</script> | [x](javascript:1) |",
  "- [x] <script>alert(1)</script>",
  "> <img src=x onerror=alert(1)>",
  "# <script>alert(1)</script>",
  "**<script>alert(1)</script>**",
  '<http://a.example/"onmouseover=alert(1)>',
  "http://a.example/'onmouseover='alert(1)",
  "&lt;script&gt;alert(1)&lt;/script&gt;",
  "&#x3C;script&#x3E;",
  "{{constructor.constructor('alert(1)')()}}",
  `$${"{alert(1)}"}`,
  "]]><script>alert(1)</script>",
  "\u202e<script>alert(1)</script>",
];

describe("Markdown in little room", () => {
  const dense = [
    "`a` ".repeat(400),
    "- **x** and `y`\n".repeat(200),
    `| a | b |\n|---|---|\n${"| *1* | 2 |\n".repeat(200)}`,
    `\`\`\`python\n${"return 'x' # y\n".repeat(100)}\`\`\``,
    "> # deep\n> - a\n>   - b\n\n".repeat(60),
    "a\u202eb".repeat(500),
  ];
  it.each(dense)("has about as many elements as there is room for, and says that there is more", (text) => {
    for (const room of [1, 60]) {
      const place = document.createElement("div");
      const { nodes, elements, short } = draw(text, () => false, room);
      render(nodes, place);
      const made = place.querySelectorAll("*").length;
      expect(short).toBe(true);
      expect(made).toBeLessThanOrEqual(elements);
      expect(elements).toBeLessThanOrEqual(room + 12);
    }
  });
  it("is whole where there is enough", () => {
    expect(draw("a **b** `c`", () => false, 60)).toMatchObject({ elements: 3, short: false });
  });
  it("still marks what cannot be seen", () => {
    const place = document.createElement("div");
    render(draw("a\u202eb".repeat(9), () => false, 1).nodes, place);
    expect(place.textContent).not.toContain("\u202e");
  });
});

describe("Markdown of agents", () => {
  it.each(ATTACKS)("is only text: %s", (text) => {
    const place = shown(text, ["api"]);
    for (const element of place.querySelectorAll("*")) {
      expect(ALLOWED).toContain(element.tagName);
      for (const { name } of element.attributes) {
        expect(name).not.toMatch(/^on/i);
        expect([
          "class",
          "href",
          "title",
          "target",
          "rel",
          "type",
          "disabled",
          "checked",
          "aria-label",
          "start",
          "dir",
          "tabindex",
          "role",
        ]).toContain(name);
      }
    }
    for (const link of place.querySelectorAll("a")) {
      expect(link.getAttribute("href")).toMatch(/^https?:\/\//);
      expect(link.rel).toBe("noopener noreferrer nofollow");
    }
    expect(place.querySelectorAll("img, script, iframe, style, form, svg, base")).toHaveLength(0);
  });

  it("shows HTML as the text that it is", () => {
    expect(shown("a <b>bold</b> word").textContent).toBe("a <b>bold</b> word");
  });

  it("turns what is on the list into elements", () => {
    const place = shown(
      "# Title\n\n**bold** *it* ~~no~~ `code`\n\n- a\n- b\n\n1. x\n\n> quote\n\n| a |\n|---|\n| 1 |\n\n---",
    );
    for (const name of [
      "strong",
      "em",
      "del",
      "code",
      "ul li",
      "ol li",
      "blockquote",
      "table td",
      "hr",
      ".heading.h1",
    ]) {
      expect(place.querySelector(name), name).not.toBeNull();
    }
  });

  it("links to the web only, and shows images as links", () => {
    expect(shown("[a](https://a.example/x)").querySelector("a")?.getAttribute("href")).toBe("https://a.example/x");
    expect(shown("![pic](https://a.example/x.png)").querySelector("a")?.textContent).toBe("image: pic");
    expect(webAddress("mailto:a@b.example")).toBeNull();
  });

  it("sets off mentions of known names, also before a full stop, and not in code or addresses", () => {
    const mentions = (text: string): string[] =>
      [...shown(text, ["api", "api.v2"]).querySelectorAll(".mention")].map((one) => one.textContent ?? "");
    expect(mentions("@api, @api.v2. @api. @nobody (@api)")).toEqual(["@api", "@api.v2", "@api", "@api"]);
    expect(mentions("`@api` x@api.example @types/@api")).toEqual([]);
  });

  it("keeps every character of a text that is made to break parsers", () => {
    const text = `${">".repeat(5000)} deep ${"[".repeat(3000)}`;
    expect(shown(text).textContent).toContain("deep");
  });

  it("does not let a message turn around what is beside it", () => {
    expect(shown("abc \u202e def").querySelector(".unseen")?.textContent).toBe("U+202E");
  });
});

describe("what would not be seen", () => {
  it.each([
    ["\u200b", "U+200B", "ZERO WIDTH SPACE"],
    ["\u202e", "U+202E", "RIGHT-TO-LEFT OVERRIDE"],
    ["\u0000", "U+0000", "NUL"],
    ["\u001b", "U+001B", "ESC"],
    ["\r", "U+000D", "CR"],
    ["\u00a0", "U+00A0", "NO-BREAK SPACE"],
    ["\u2066", "U+2066", "LEFT-TO-RIGHT ISOLATE"],
    ["\ufeff", "U+FEFF", "BYTE ORDER MARK"],
    ["\u{e0041}", "U+E0041", "U+E0041"],
    ["\u3164", "U+3164", "U+3164"],
    ["\ufe0f", "U+FE0F", "U+FE0F"],
    ["\u2065", "U+2065", "U+2065"],
    ["\u2800", "U+2800", "U+2800"],
    ["\u{e0fff}", "U+E0FFF", "U+E0FFF"],
  ])("is marked: %j", (character, text, name) => {
    const [before, mark, after] = visible(`a${character}b`);
    expect([before, after]).toEqual([{ text: "a" }, { text: "b" }]);
    expect(mark?.text).toBe(text);
    expect(mark?.mark).toContain(name);
  });

  it("is counted where it repeats, and kept apart where it differs", () => {
    expect(visible("\u200b\u200b\u200b\u200c").map((part) => part.text)).toEqual(["U+200B×3", "U+200C"]);
  });

  it("is everything but what prints: nothing printable is marked, tabs and lines stay", () => {
    const text = "rm -rf /tmp/x && echo 'äöü €😀 日本語 العربية'\n\tnext";
    expect(visible(text)).toEqual([{ text }]);
  });

  it("is only what turns text around in messages, so that joined emoji and scripts stay whole", () => {
    expect(upright("👩‍💻 می‌خواهم")).toEqual([{ text: "👩‍💻 می‌خواهم" }]);
  });
});

describe("a diff", () => {
  const side = (before: string, after: string, kind: "added" | "removed"): string =>
    diffLines(before, after)
      .filter((line) => line.kind === "same" || line.kind === kind)
      .map((line) => line.text)
      .join("\n");

  it.each([
    ["a\nb\nc", "a\nx\nc"],
    ["", "new\nfile"],
    ["old\nfile", ""],
    ["same", "same"],
    ["a\nb\nc\nd\ne", "b\nc\nx\ne\nf"],
    ["x\nx\nx", "x\nx"],
    ["a\n\n\nb", "a\n\nb\n"],
  ])("has both texts in it: %j and %j", (before, after) => {
    expect(side(before, after, "removed")).toBe(before);
    expect(side(before, after, "added")).toBe(after);
  });

  it("has both texts in it, whatever they are", () => {
    let seed = 42;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % below;
    };
    for (let round = 0; round < 300; round += 1) {
      const lines = (): string => Array.from({ length: random(12) }, () => "abc"[random(3)] ?? "").join("\n");
      const [before, after] = [lines(), lines()];
      expect(side(before, after, "removed"), `${before} / ${after}`).toBe(before);
      expect(side(before, after, "added"), `${before} / ${after}`).toBe(after);
    }
  });

  it("is short where the change is", () => {
    const many = Array.from({ length: 5000 }, (_, index) => `line ${index}`);
    const changed = diffLines(many.join("\n"), many.with(2500, "other").join("\n")).filter(
      (line) => line.kind !== "same",
    );
    expect(changed).toEqual([
      { kind: "removed", text: "line 2500" },
      { kind: "added", text: "other" },
    ]);
  });

  it("of two long texts without anything in common ends soon, and is all of one and all of the other", () => {
    const one = Array.from({ length: 20_000 }, (_, index) => `a${index}`).join("\n");
    const other = Array.from({ length: 20_000 }, (_, index) => `b${index}`).join("\n");
    expect(diffLines(one, other)).toHaveLength(40_000);
  });
});

describe("highlighted code", () => {
  it.each(["python", "ts", "sql", "json", "bash", "yaml", "diff", "brainfuck", ""])(
    "loses nothing in %s",
    (language) => {
      const text =
        "def f(x): # c\n  return \"a\\\"b\" + 'c' // 0x1F /* d */ `e` -- f\n+ added\n- removed\n日本 \u202e 'open";
      expect(
        highlight(text, language)
          .map((piece) => piece.text)
          .join(""),
      ).toBe(text);
    },
  );

  it("knows comments, strings, numbers and keywords", () => {
    expect(highlight('return "x" # why\n12', "python")).toEqual([
      { tone: "keyword", text: "return" },
      { tone: "plain", text: " " },
      { tone: "string", text: '"x"' },
      { tone: "plain", text: " " },
      { tone: "comment", text: "# why" },
      { tone: "plain", text: "\n" },
      { tone: "number", text: "12" },
    ]);
  });
});
