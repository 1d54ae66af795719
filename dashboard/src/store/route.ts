// Which view is shown, as the address says: `#/VIEW`, `#/VIEW/WHAT`, with `?name=value` for what is filtered.

import { computed, signal } from "@preact/signals";

const VIEWS = ["needs", "chat", "agents", "tasks", "instances", "search", "activity", "settings"] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  /** The message, agent or task that is meant, if any. */
  what: string | null;
  query: ReadonlyMap<string, string>;
}

export function parseRoute(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [view, ...rest] = path.split("/");
  const what = rest.join("/");
  return {
    view: VIEWS.find((one) => one === view) ?? "needs",
    what: what === "" ? null : safelyDecoded(what),
    query: new Map(new URLSearchParams(search)),
  };
}

function safelyDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function hrefOf(view: View, what?: string | null, query: Record<string, string | undefined> = {}): string {
  const kept = Object.entries(query).filter((pair): pair is [string, string] => Boolean(pair[1]));
  const search = kept.length > 0 ? `?${new URLSearchParams(kept)}` : "";
  return `#/${view}${what ? `/${encodeURIComponent(what)}` : ""}${search}`;
}

const hash = signal(globalThis.location?.hash ?? "");
addEventListener("hashchange", () => {
  hash.value = location.hash;
});

export const route = computed(() => parseRoute(hash.value));

/** The thread of `root` beside the chat, which stays as it is filtered; `message` is marked in it. */
export function threadHref(root: string, message = root): string {
  const kept = route.value.view === "chat" ? Object.fromEntries(route.value.query) : {};
  return hrefOf("chat", message, { ...kept, thread: root });
}

/** Go there; with `replace` the way back does not lead here. */
export function go(href: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, "", href);
  else history.pushState(null, "", href);
  hash.value = href;
}
addEventListener("popstate", () => {
  hash.value = location.hash;
});
