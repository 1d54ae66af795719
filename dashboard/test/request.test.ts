import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  allowOnce,
  allowWith,
  answerQuestions,
  deny,
  digestOf,
  forEvent,
  parseRequest,
} from "../src/permission/request";

const raw = (tool_name: string, tool_input: object, more: object = {}): string =>
  JSON.stringify({ tool_name, tool_input, ...more });

describe("a permission request", () => {
  it("has the digest of the nonce's bytes and the bytes of what was sent", async () => {
    const sent = '{"tool_name":"Bash","tool_input":{"command":"echo \u202e€😀\\u0000"}}';
    const expected = createHash("sha256").update(Buffer.from("00ff7f", "hex")).update(sent, "utf8").digest("hex");
    await expect(digestOf({ hub_nonce: "00ff7f", raw: sent })).resolves.toBe(expected);
  });

  it("has another digest if one character or the nonce is another", async () => {
    const digest = await digestOf({ hub_nonce: "00", raw: "{}" });
    await expect(digestOf({ hub_nonce: "01", raw: "{}" })).resolves.not.toBe(digest);
    await expect(digestOf({ hub_nonce: "00", raw: "{} " })).resolves.not.toBe(digest);
  });

  it.each([
    "",
    "[]",
    "null",
    '"x"',
    "{",
    '{"tool_name":"Bash"}',
    '{"tool_name":"","tool_input":{}}',
    '{"tool_name":"Bash","tool_input":[]}',
  ])("that cannot be read is broken: %s", (text) => expect(parseRequest(text).broken).toBe(true));

  it("is taken apart into tool and whole input", () => {
    const input = { command: "ls", description: "lists", timeout: 5, nested: { a: [1, null] } };
    expect(parseRequest(raw("Bash", input))).toMatchObject({ tool: "Bash", input, broken: false, suggestions: [] });
  });

  it("says in words what Claude Code suggests, and where it would go", () => {
    const updates = [
      {
        type: "addRules",
        rules: [{ toolName: "Bash", ruleContent: "npm test:*" }, { toolName: "Read" }],
        behavior: "allow",
        destination: "localSettings",
      },
      { type: "setMode", mode: "acceptEdits", destination: "session" },
      { type: "addDirectories", directories: ["/srv/a b"], destination: "session" },
      { type: "somethingNew", x: 1, destination: "elsewhere" },
    ];
    const { suggestions } = parseRequest(raw("Bash", {}, { permission_suggestions: updates }));
    expect(suggestions.map((one) => [one.text, one.destination])).toEqual([
      ["allow Bash(npm test:*), Read", "localSettings"],
      ["switch to the mode acceptEdits", "session"],
      ["work also in /srv/a b", "session"],
      ['{"type":"somethingNew","x":1,"destination":"elsewhere"}', null],
    ]);
    expect(suggestions.map((one) => one.update)).toEqual(updates);
  });
});

describe("an answer", () => {
  it("has the form of the event that asked", () => {
    const dialog = JSON.stringify({ hook_event_name: "PermissionRequest" });
    const before = JSON.stringify({ hook_event_name: "PreToolUse" });
    expect(forEvent(dialog, deny("why", true))).toEqual(deny("why", true));
    expect(forEvent(before, allowOnce())).toEqual({
      hookSpecificOutput: { hookEventName: "PreToolUse", permissionDecision: "allow" },
    });
    expect(forEvent(before, deny("why", true))).toEqual({
      hookSpecificOutput: {
        hookEventName: "PreToolUse",
        permissionDecision: "deny",
        permissionDecisionReason: "why",
      },
    });
  });

  it("allows once, and nothing else", () => {
    expect(allowOnce()).toEqual({
      hookSpecificOutput: { hookEventName: "PermissionRequest", decision: { behavior: "allow" } },
    });
  });

  it("allows with the suggested rules as they were sent, only their destination may be another", () => {
    const update = {
      type: "addRules",
      rules: [{ toolName: "Bash", ruleContent: "ls" }],
      behavior: "allow",
      destination: "localSettings",
    };
    const [suggestion] = parseRequest(raw("Bash", {}, { permission_suggestions: [update] })).suggestions;
    if (suggestion === undefined) throw new Error("no suggestion");
    const { decision } = allowWith([{ suggestion, destination: "session" }]).hookSpecificOutput;
    expect(decision).toEqual({ behavior: "allow", updatedPermissions: [{ ...update, destination: "session" }] });
  });

  it("denies with a reason, and interrupts only if it is said", () => {
    expect(deny(" no \n", false).hookSpecificOutput.decision).toEqual({ behavior: "deny", message: "no" });
    expect(deny("", true).hookSpecificOutput.decision).toEqual({ behavior: "deny", interrupt: true });
    expect(deny("  ", false).hookSpecificOutput.decision).toEqual({ behavior: "deny" });
  });

  it("answers questions beside the questions themselves", () => {
    const input = {
      questions: [{ question: "Which?", header: "DB", multiSelect: true, options: [{ label: "A", description: "a" }] }],
    };
    const asked = parseRequest(raw("AskUserQuestion", input));
    expect(asked.questions).toEqual([
      { question: "Which?", header: "DB", several: true, options: [{ label: "A", description: "a" }] },
    ]);
    const { decision } = answerQuestions(asked, new Map([["Which?", "A"]])).hookSpecificOutput;
    expect(decision).toEqual({ behavior: "allow", updatedInput: { ...input, answers: { "Which?": "A" } } });
  });

  it("takes questions only from the tool that asks them", () => {
    expect(parseRequest(raw("Bash", { questions: [{ question: "x" }] })).questions).toEqual([]);
  });
});
