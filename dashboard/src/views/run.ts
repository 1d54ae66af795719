// What the chat and a thread share in showing a run of messages: how one gets to a message or to the end, which
// messages stand together, and how much of the page each takes.

import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Item } from "../protocol";
import type { Timeline } from "../store/timeline";
import { useApp } from "../ui/context";
import type { WindowedHandle } from "../ui/windowed";
import { frameElementsOf, isNameOf, textElementsOf } from "./message";

const TOGETHER_MS = 5 * 60_000;

/** Whether a message follows another of the same author closely enough to need no head of its own. */
export function together(before: Item, item: Item): boolean {
  return (
    before.from_id === item.from_id &&
    before.private === item.private &&
    before.quiet === item.quiet &&
    Date.parse(item.ts) - Date.parse(before.ts) < TOGETHER_MS
  );
}

interface Moves {
  handle: { current: WindowedHandle | null };
  /** Brings a message into sight: at once if it is here, and otherwise as soon as what is around it was read. */
  seek: (message: string) => void;
  /** To the newest message, which is read first if it is not here. */
  toEnd: () => void;
}

/** How one moves in the list that gets the handle. */
export function useMoves(timeline: Timeline): Moves {
  const handle = useRef<WindowedHandle | null>(null);
  const sought = useRef<string | null>(null);
  useEffect(() => {
    if (sought.current !== null && handle.current?.show(sought.current)) sought.current = null;
  }, [timeline.items.value]);
  return {
    handle,
    seek: (message) => {
      sought.current = null;
      if (timeline.has(message)) handle.current?.show(message);
      else {
        sought.current = message;
        void timeline.loadAround(message);
      }
    },
    toEnd: () => {
      if (timeline.later.value) void timeline.load().then(() => handle.current?.toEnd());
      else handle.current?.toEnd();
    },
  };
}

/** How many elements the row of a message has; those of its text are remembered as long as it is the same. */
export function useElements(): (item: Item, head: boolean, tight: boolean) => number {
  const names = useApp().agentNames.value;
  return useMemo(() => {
    const known = new WeakMap<Item, number>();
    return (item, head, tight) => {
      const text = tight ? 1 : (known.get(item) ?? textElementsOf(item, isNameOf(names)));
      if (!tight) known.set(item, text);
      return text + frameElementsOf(item, head);
    };
  }, [names]);
}
