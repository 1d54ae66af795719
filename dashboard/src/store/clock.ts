// The time of day for ages on the screen: one signal that ticks for all, and stands still while nobody looks.

import { signal } from "@preact/signals";

const TICK_MS = 5_000;

export const now = signal(Date.now());

setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, TICK_MS);
addEventListener("visibilitychange", () => {
  if (!document.hidden) now.value = Date.now();
});

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** `a moment`, `40 s`, `3 min`, `2 h`, `5 d`. */
export function age(ms: number): string {
  if (ms < 10_000) return "a moment";
  if (ms < MINUTE) return `${Math.floor(ms / 10_000) * 10} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h`;
  return `${Math.floor(ms / DAY)} d`;
}

const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const fullTime = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const dayAndMonth = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayWithYear = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const dayOf = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });

/** Times are shown in the zone of whoever looks. */
export const clockTime = (iso: string): string => timeOfDay.format(new Date(iso));
export const wholeTime = (iso: string): string => fullTime.format(new Date(iso));

/** The calendar day of a time, to tell days apart. */
export const dayKey = (iso: string): string => dayOf.format(new Date(iso));

export function dayName(iso: string, today = Date.now()): string {
  const day = dayKey(iso);
  if (day === dayOf.format(today)) return "Today";
  if (day === dayOf.format(today - DAY)) return "Yesterday";
  return (new Date(iso).getFullYear() === new Date(today).getFullYear() ? dayAndMonth : dayWithYear).format(
    new Date(iso),
  );
}
