// A permission request as values: what the session's hook sent, taken apart for showing, and the answers to it.
//
// Nothing here decides. What is shown comes from `raw` alone; the digest ties it to the bytes the hook has.

import { isObject } from "../decode";
import { fromHex, sha256, toHex, utf8 } from "../link/bytes";
import type { Json, JsonObject, PermissionView } from "../protocol";

/** SHA-256 over the hub's nonce and the bytes of `raw`, in hex. */
export async function digestOf(view: Pick<PermissionView, "hub_nonce" | "raw">): Promise<string> {
  return toHex(await sha256(fromHex(view.hub_nonce), utf8(view.raw)));
}

export type Destination = "session" | "localSettings" | "projectSettings" | "userSettings";
export const DESTINATIONS: readonly [Destination, string][] = [
  ["session", "this session"],
  ["localSettings", "this project, only for me"],
  ["projectSettings", "this project, for everybody (in its repository)"],
  ["userSettings", "all my projects"],
];

/** What Claude Code itself suggests: a change of its permission rules. */
export interface Suggestion {
  /** As it was sent. */
  update: JsonObject;
  text: string;
  destination: Destination | null;
}

export interface Choice {
  label: string;
  description: string;
}

export interface Question {
  question: string;
  header: string;
  options: Choice[];
  several: boolean;
}

/** What `raw` says. `broken`: it is no JSON object, so there is only the text to show, and nothing to allow. */
export interface Asked {
  tool: string;
  input: JsonObject;
  suggestions: Suggestion[];
  questions: Question[];
  broken: boolean;
}

export function parseRequest(raw: string): Asked {
  let sent: unknown;
  try {
    sent = JSON.parse(raw);
  } catch {
    sent = null;
  }
  const input = isObject(sent) && isObject(sent.tool_input) ? (sent.tool_input as JsonObject) : {};
  const tool = isObject(sent) && typeof sent.tool_name === "string" ? sent.tool_name : "";
  return {
    tool,
    input,
    suggestions: isObject(sent) ? suggestionsIn(sent.permission_suggestions) : [],
    questions: tool === "AskUserQuestion" ? questionsIn(input) : [],
    broken: !isObject(sent) || tool === "" || !isObject(sent.tool_input),
  };
}

function objectsIn(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function suggestionsIn(value: unknown): Suggestion[] {
  return objectsIn(value).map((update) => ({
    update: update as JsonObject,
    text: ruleText(update),
    destination: DESTINATIONS.find(([name]) => name === update.destination)?.[0] ?? null,
  }));
}

/** A suggested change in words; what is not known is shown as it is. */
function ruleText(update: Record<string, unknown>): string {
  const named = objectsIn(update.rules).map((rule) =>
    rule.ruleContent === undefined ? String(rule.toolName) : `${String(rule.toolName)}(${String(rule.ruleContent)})`,
  );
  switch (update.type) {
    case "addRules":
      return `${String(update.behavior ?? "allow")} ${named.join(", ")}`;
    case "replaceRules":
    case "removeRules":
      return `${update.type === "removeRules" ? "remove" : "replace by"} ${named.join(", ")}`;
    case "setMode":
      return `switch to the mode ${String(update.mode)}`;
    case "addDirectories":
    case "removeDirectories": {
      const directories = Array.isArray(update.directories) ? update.directories.map(String) : [];
      return `${update.type === "addDirectories" ? "work also in" : "no longer work in"} ${directories.join(", ")}`;
    }
    default:
      return JSON.stringify(update);
  }
}

function questionsIn(input: JsonObject): Question[] {
  return objectsIn(input.questions).map((one) => ({
    question: String(one.question ?? ""),
    header: String(one.header ?? ""),
    options: objectsIn(one.options).map((option) => ({
      label: String(option.label ?? ""),
      description: String(option.description ?? ""),
    })),
    several: one.multiSelect === true,
  }));
}

/** The whole of what the hook will print. */
export interface Output {
  hookSpecificOutput: { hookEventName: "PermissionRequest"; decision: Decision };
}

export type Decision =
  | { behavior: "allow"; updatedInput?: JsonObject; updatedPermissions?: Json[] }
  | { behavior: "deny"; message?: string; interrupt?: boolean };

function output(decision: Decision): Output {
  return { hookSpecificOutput: { hookEventName: "PermissionRequest", decision } };
}

/** The same answer as the hook prints it before a tool is used: there `claude -p` is asked for what is on the ask-list. */
export interface OutputBefore {
  hookSpecificOutput: {
    hookEventName: "PreToolUse";
    permissionDecision: "allow" | "deny";
    permissionDecisionReason?: string;
  };
}

/** The output in the form of the event that `raw` names. */
export function forEvent(raw: string, { hookSpecificOutput }: Output): Output | OutputBefore {
  const sent: unknown = JSON.parse(raw);
  if (!isObject(sent) || sent.hook_event_name !== "PreToolUse") return { hookSpecificOutput };
  const { decision } = hookSpecificOutput;
  const reason = decision.behavior === "deny" && decision.message ? decision.message : undefined;
  return {
    hookSpecificOutput: {
      hookEventName: "PreToolUse",
      permissionDecision: decision.behavior,
      ...(reason === undefined ? {} : { permissionDecisionReason: reason }),
    },
  };
}

export const allowOnce = (): Output => output({ behavior: "allow" });

/** Allow, and let Claude Code change its rules as it suggested, where the person said. */
export function allowWith(chosen: { suggestion: Suggestion; destination: Destination | null }[]): Output {
  const updates = chosen.map(({ suggestion, destination }) =>
    destination === null ? suggestion.update : { ...suggestion.update, destination },
  );
  return output({ behavior: "allow", updatedPermissions: updates });
}

export function deny(reason: string, interrupt: boolean): Output {
  const message = reason.trim();
  return output({ behavior: "deny", ...(message ? { message } : {}), ...(interrupt ? { interrupt: true } : {}) });
}

/** Answer the questions of an AskUserQuestion: it is allowed, with the answers put into its input. */
export function answerQuestions(asked: Asked, answers: ReadonlyMap<string, string>): Output {
  return output({
    behavior: "allow",
    updatedInput: { ...asked.input, answers: Object.fromEntries(answers) },
  });
}
