// What this browser remembers between visits: choices, and how far the person has read. Shared by all its tabs.

import { effect, type Signal, signal } from "@preact/signals";

const PREFIX = "crosschat.";

/** A signal that is kept in local storage, and follows what other tabs write there. */
export function remembered<T>(name: string, initial: T, fits: (value: unknown) => value is T): Signal<T> {
  const key = PREFIX + name;
  const parsed = (text: string | null): T => {
    try {
      const value: unknown = JSON.parse(text ?? "null");
      return fits(value) ? value : initial;
    } catch {
      return initial;
    }
  };
  const kept = signal(parsed(read(key)));
  addEventListener("storage", (event) => {
    if (event.key === key) kept.value = parsed(event.newValue);
  });
  effect(() => write(key, JSON.stringify(kept.value)));
  return kept;
}

// A browser may refuse storage altogether (private windows, policies): then nothing is remembered, and all else works.
function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, text: string): void {
  try {
    if (localStorage.getItem(key) !== text) localStorage.setItem(key, text);
  } catch {
    // as above
  }
}

const isBoolean = (value: unknown): value is boolean => typeof value === "boolean";
export const isNumber = (value: unknown): value is number => typeof value === "number";

export type Theme = "system" | "light" | "dark";
const isTheme = (value: unknown): value is Theme => value === "system" || value === "light" || value === "dark";

export const theme = remembered<Theme>("theme", "system", isTheme);
export const notifies = remembered("notifies", false, isBoolean);
export const sounds = remembered("sounds", false, isBoolean);
