// The icons: strokes on a grid of 20, drawn in the colour of the text around them.

import type { VNode } from "preact";

const PATHS = {
  needs: "M10 3a4.5 4.5 0 0 0-4.5 4.5c0 4-2 5-2 6h13c0-1-2-2-2-6A4.5 4.5 0 0 0 10 3Z M8.2 16.2a2 2 0 0 0 3.6 0",
  chat: "M3.5 5.5a2 2 0 0 1 2-2h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H9l-3.5 3v-3a2 2 0 0 1-2-2Z",
  agents:
    "M7.5 9.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z M2.5 16.5c0-3 2.2-4.5 5-4.5s5 1.5 5 4.5 M13 3.8a3 3 0 0 1 0 5.4 M14.6 12.4c1.9.6 2.9 2 2.9 4.1",
  tasks: "M4 4.5h2.5v2.5H4Z M9.5 5.7H16.5 M4 11h2.5v2.5H4Z M9.5 12.2H16.5",
  instances: "M3 4.5h14v11H3Z M6 8l2.2 2L6 12 M10.5 12.5h3.5",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11Z M13 13l4 4",
  activity: "M2.5 10.5h3.2l2.3-6 4 11 2.3-5h3.2",
  settings: "M4 6h7 M15 6h1 M4 14h1 M9 14h7 M13 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z M7 16a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
  more: "M5 10h.01 M10 10h.01 M15 10h.01",
  close: "M5 5l10 10 M15 5L5 15",
  back: "M12 4.5L6.5 10l5.5 5.5",
  reply: "M8 5L3.5 9.5 8 14 M4 9.5h7a5 5 0 0 1 5 5v1",
  flag: "M5 17V3.5 M5 4c3-1.6 5 1.6 9.5 0v7C10 12.600 8 9.400 5 11",
  tag: "M3.500 3.500h6l7 7-6 6-7-7Z M7 7h.01",
  link: "M8.500 11.500a3 3 0 0 0 4.200 0l3-3a3 3 0 0 0-4.200-4.200l-1 1 M11.500 8.500a3 3 0 0 0-4.200 0l-3 3a3 3 0 0 0 4.200 4.200l1-1",
  eye: "M2 10s3-5.500 8-5.500 8 5.500 8 5.500-3 5.500-8 5.500S2 10 2 10Z M10 12.300a2.300 2.300 0 1 0 0-4.600 2.300 2.300 0 0 0 0 4.600Z",
  send: "M3.500 10L16.500 4l-4 12.500-3-5Z M9.500 11.500l7-7.500",
  down: "M10 4v12 M5 11l5 5 5-5",
  lock: "M5 9h10v7.500H5Z M7 9V6.500a3 3 0 0 1 6 0V9",
  copy: "M7 7h9.500v9.500H7Z M13 7V3.500H3.500V13H7",
  check: "M4 10.500l4 4 8-9",
  pause: "M7 5v10 M13 5v10",
  play: "M6.500 4.500l9 5.500-9 5.500Z",
  plus: "M10 4v12 M4 10h12",
  folder: "M2.500 5.500a1 1 0 0 1 1-1h4l2 2h7a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1h-13a1 1 0 0 1-1-1Z",
  at: "M13 10a3 3 0 1 0-6 0 3 3 0 0 0 6 0Zm0 0v1.200a2 2 0 0 0 4 0V10a7 7 0 1 0-2.800 5.600",
  sun: "M10 13a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z M10 2.500v1.500 M10 16v1.500 M2.500 10H4 M16 10h1.500 M4.700 4.700l1 1 M14.300 14.300l1 1 M4.700 15.300l1-1 M14.300 5.700l1-1",
  moon: "M16 11.500A6.500 6.500 0 0 1 8.500 4a6.500 6.500 0 1 0 7.500 7.500Z",
  screen: "M3 4h14v9.500H3Z M7.500 16.500h5",
  warn: "M10 3.500L17.500 16.500h-15Z M10 8v4 M10 14.200h.01",
  help: "M7.500 7.500a2.500 2.500 0 1 1 3.700 2.200c-.8.500-1.200 1-1.200 2 M10 14.500h.01",
  trash: "M4 6h12 M8 6V4h4v2 M5.500 6l.7 10.500h7.600L14.500 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }): VNode {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The mark: two paths that cross, and meet. */
export function Mark({ size = 24 }: { size?: number }): VNode {
  return (
    <svg class="mark" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <rect width="24" height="24" rx="7" class="mark-ground" />
      <path d="M6.500 7.500c5 0 6 9 11 9" class="mark-line" />
      <path d="M6.500 16.500c5 0 6-9 11-9" class="mark-line second" />
      <circle cx="6.500" cy="7.500" r="1.700" class="mark-dot" />
      <circle cx="17.500" cy="7.500" r="1.700" class="mark-dot" />
    </svg>
  );
}
