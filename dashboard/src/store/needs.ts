// What needs the person beside permissions, as the hub says, with the messages it is about.

import { computed, signal } from "@preact/signals";
import type { Link } from "../link/link";
import type { Item, Need, PageFrame } from "../protocol";

export class Needs {
  readonly list = signal<readonly Need[]>([]);
  readonly messages = signal<ReadonlyMap<string, Item>>(new Map());
  readonly count = computed(() => this.list.value.length);
  private first = true; // what waited before the page was opened is seen, and not announced

  constructor(
    private readonly link: Link,
    private readonly arrived: (need: Need) => void,
  ) {}

  take(list: readonly Need[]): void {
    const before = new Set(this.list.value.map(keyOf));
    this.list.value = list;
    for (const need of list) {
      if (!this.first && !before.has(keyOf(need))) this.arrived(need);
      if (!this.messages.value.has(need.message)) void this.fetch(need.message);
    }
    this.first = false;
    const wanted = new Set(list.map((need) => need.message));
    this.messages.value = new Map([...this.messages.value].filter(([message]) => wanted.has(message)));
  }

  /** Keep what is shown of a message in step with changes to it. */
  patch(message: string, change: (item: Item) => Item): void {
    const known = this.messages.value.get(message);
    if (known !== undefined) this.messages.value = new Map(this.messages.value).set(message, change(known));
  }

  private async fetch(message: string): Promise<void> {
    const page = await this.link.ask<PageFrame>({ type: "read", message }).catch(() => null);
    const item = page?.items[0];
    if (item !== undefined) this.messages.value = new Map(this.messages.value).set(message, item);
  }
}

const keyOf = (need: Need): string => `${need.kind} ${need.message}`;

const isOpenQuestion = (item: Item): boolean =>
  item.badges.some((badge) => badge.type === "question" && badge.value === "true");

/** The person replied in a thread: questions in it are answered, as the hub sees it, too. */
export function answeredBy(reply: Item, item: Item): boolean {
  return (
    reply.kind === "reply" &&
    reply.source === "user" &&
    reply.thread === (item.thread ?? item.message) &&
    isOpenQuestion(item)
  );
}
