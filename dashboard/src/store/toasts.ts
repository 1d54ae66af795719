// Short notes at the edge of the screen, and what the screen reader is told.

import { signal } from "@preact/signals";

const SHOWN_MS = 6_000;
const SHOWN_WITH_ACTION_MS = 20_000;

export interface Toast {
  id: number;
  text: string;
  tone: "good" | "bad" | "plain";
  action?: { label: string; run: () => void } | undefined;
}

export const toasts = signal<readonly Toast[]>([]);
/** The latest announcement for screen readers; a new object also for the same words. */
export const announced = signal<{ text: string }>({ text: "" });
let numbers = 0;

export function announce(text: string): void {
  announced.value = { text };
}

export function toast(text: string, tone: Toast["tone"] = "plain", action?: Toast["action"]): void {
  const made: Toast = { id: ++numbers, text, tone, action };
  toasts.value = [...toasts.value.slice(-3), made];
  announce(text);
  setTimeout(() => dismiss(made.id), action === undefined ? SHOWN_MS : SHOWN_WITH_ACTION_MS);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

/** Run something the person asked for; if it is refused, say why. Returns whether it worked. */
export async function attempt(act: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await act();
    if (done !== undefined) toast(done, "good");
    return true;
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error), "bad");
    return false;
  }
}
