// A list of any length of which only the rows near the eye are in the page.
//
// However many rows fit on the screen, their elements stay within `ELEMENTS`: what lies beyond the screen is drawn only
// if there is room, and if what is on it has too many already, the rest of it is drawn tight.
// Rows have heights nobody knows before: they are guessed, measured when shown, and remembered. Invariants: the first
// row that is seen stays where it is when rows before it come, go or turn out higher; whoever is at the end stays there.

import type { ComponentChild, VNode } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

export const ELEMENTS = 275; // the tools of a row that is pointed at, and a divider, come on top
const GUESS_PX = 64;
const BEYOND_PX = 240; // rows this far outside are in the page, too
const NEAR_PX = 600; // this near an end, more is asked for
const AT_END_PX = 24;

export interface WindowedHandle {
  toEnd(): void;
  show(key: string): boolean;
}

interface Props<Row> {
  rows: readonly Row[];
  keyOf: (row: Row) => string;
  render: (row: Row, index: number, tight: boolean) => ComponentChild;
  /** How many elements a row has, tight or not. */
  elementsOf: (row: Row, index: number, tight: boolean) => number;
  label: string;
  /** Called when the start or the end comes near. */
  nearStart?: (() => void) | undefined;
  nearEnd?: (() => void) | undefined;
  /** Whether the last row is in sight, and which row is the last that is. */
  onView?: ((atEnd: boolean, last: Row | undefined) => void) | undefined;
  handle?: { current: WindowedHandle | null };
  before?: ComponentChild;
  after?: ComponentChild;
}

/** Where each row begins, and at the end where the last one ends. */
export function offsetsOf(keys: readonly string[], heights: ReadonlyMap<string, number>): Float64Array {
  const offsets = new Float64Array(keys.length + 1);
  for (let index = 0; index < keys.length; index += 1) {
    offsets[index + 1] = (offsets[index] ?? 0) + (heights.get(keys[index] ?? "") ?? GUESS_PX);
  }
  return offsets;
}

/** The index of the row at a height: the last that begins at or before it. */
export function rowAt(offsets: Float64Array, y: number): number {
  let low = 0;
  let high = Math.max(0, offsets.length - 2);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((offsets[middle] ?? 0) <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}

export interface Drawn {
  first: number;
  last: number;
  /** From this row on they are drawn tight; beyond the last if there is room for all. */
  tightFrom: number;
}

/** Which rows are drawn: those in `sight` in any case, and of those `near` it as many as there is room for. */
export function drawnRows(
  sight: [number, number],
  near: [number, number],
  elementsOf: (index: number, tight: boolean) => number,
): Drawn {
  let [first, last] = sight;
  let tight = 0;
  for (let index = first; index <= last; index += 1) tight += elementsOf(index, true);
  let room = ELEMENTS;
  for (let index = first; index <= last; index += 1) {
    tight -= elementsOf(index, true);
    room -= elementsOf(index, false);
    if (room < tight) return { first, last, tightFrom: index };
  }
  const fits = (index: number): boolean => {
    room -= elementsOf(index, false);
    return room >= 0;
  };
  while (last < near[1] && fits(last + 1)) last += 1;
  while (first > near[0] && fits(first - 1)) first -= 1;
  return { first, last, tightFrom: last + 1 };
}

export function Windowed<Row>({
  rows,
  keyOf,
  render,
  elementsOf,
  label,
  nearStart,
  nearEnd,
  onView,
  handle,
  before,
  after,
}: Props<Row>): VNode {
  const scroller = useRef<HTMLDivElement>(null);
  const body = useRef<HTMLDivElement>(null);
  const heights = useRef(new Map<string, number>()).current;
  const [view, setView] = useState({ top: 0, height: 800 });
  const [, remeasured] = useState(0);
  const keys = useMemo(() => rows.map(keyOf), [rows]);
  const anchor = useRef<{ key: string; below: number } | null>(null);
  const atEnd = useRef(true);
  const wanted = useRef<string | null>(null);

  const offsets = offsetsOf(keys, heights);
  const total = offsets[keys.length] ?? 0;
  const lead = body.current?.offsetTop ?? 0;
  const top = view.top - lead;
  const { first, last, tightFrom } =
    rows.length === 0
      ? { first: 0, last: -1, tightFrom: 0 }
      : drawnRows(
          [rowAt(offsets, top), rowAt(offsets, top + view.height)],
          [rowAt(offsets, top - BEYOND_PX), rowAt(offsets, top + view.height + BEYOND_PX)],
          (index, tight) => elementsOf(rows[index] as Row, index, tight),
        );

  const look = (): void => {
    const element = scroller.current;
    if (element === null) return;
    const y = element.scrollTop - (body.current?.offsetTop ?? 0);
    const index = rowAt(offsets, Math.max(0, y));
    const key = keys[index];
    anchor.current = key === undefined ? null : { key, below: y - (offsets[index] ?? 0) };
    atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < AT_END_PX;
    setView({ top: element.scrollTop, height: element.clientHeight });
    if (element.scrollTop < NEAR_PX) nearStart?.();
    if (element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX) nearEnd?.();
    onView?.(atEnd.current, rows[rowAt(offsets, y + element.clientHeight - 8)]);
  };

  // What is unfolded grows downwards, also at the end.
  const hold = (event: Event): void => {
    if (event.target instanceof Element && event.target.closest("[data-grows]") !== null) atEnd.current = false;
  };

  // Before the browser paints: measure what was drawn, and put the anchor back to where it was.
  useLayoutEffect(() => {
    const element = scroller.current;
    const inner = body.current;
    if (element === null || inner === null) return;
    let changed = false;
    for (const row of inner.children as Iterable<Element>) {
      const key = (row as HTMLElement).dataset.key;
      const height = (row as HTMLElement).offsetHeight;
      if (key === undefined || height === 0 || heights.get(key) === height) continue;
      heights.set(key, height);
      changed = true;
    }
    const fresh = changed ? offsetsOf(keys, heights) : offsets;
    if (wanted.current !== null) {
      const index = keys.indexOf(wanted.current);
      if (index >= 0) {
        anchor.current = { key: wanted.current, below: -element.clientHeight / 3 }; // drawn again before it has scrolled
        element.scrollTop = inner.offsetTop + (fresh[index] ?? 0) + anchor.current.below;
      }
      if (!changed) wanted.current = null;
    } else if (atEnd.current) {
      element.scrollTop = element.scrollHeight;
    } else if (anchor.current !== null) {
      const index = keys.indexOf(anchor.current.key);
      const wish = inner.offsetTop + (fresh[index] ?? 0) + anchor.current.below;
      if (index >= 0 && Math.abs(wish - element.scrollTop) > 1) element.scrollTop = wish;
    }
    if (changed) remeasured((count) => count + 1);
  });

  useEffect(() => {
    look();
  }, [rows]);

  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const watch = new ResizeObserver(() => {
      if (atEnd.current) element.scrollTop = element.scrollHeight;
      setView({ top: element.scrollTop, height: element.clientHeight });
    });
    watch.observe(element);
    if (body.current !== null) watch.observe(body.current);
    return () => watch.disconnect();
  }, []);

  if (handle !== undefined) {
    handle.current = {
      toEnd: () => {
        atEnd.current = true;
        wanted.current = null;
        remeasured((count) => count + 1);
      },
      show: (key) => {
        if (!keys.includes(key)) return false;
        atEnd.current = false;
        wanted.current = key;
        remeasured((count) => count + 1);
        return true;
      },
    };
  }

  return (
    <div
      ref={scroller}
      class="windowed"
      role="region"
      aria-label={label}
      tabIndex={0}
      onScroll={look}
      onClickCapture={hold}
    >
      {before}
      <div
        ref={body}
        class="windowed-rows"
        style={{
          paddingTop: `${offsets[first] ?? 0}px`,
          paddingBottom: `${last < 0 ? 0 : total - (offsets[last + 1] ?? total)}px`,
        }}
      >
        {rows.slice(first, last + 1).map((row, index) => {
          const key = keys[first + index] ?? "";
          return (
            <div key={key} data-key={key} class="windowed-row">
              {render(row, first + index, first + index >= tightFrom)}
            </div>
          );
        })}
      </div>
      {after}
    </div>
  );
}
