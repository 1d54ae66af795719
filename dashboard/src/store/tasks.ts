// All tasks the page knows of: the newest of each state from the hub, and every change since.

import { computed, signal } from "@preact/signals";
import type { Link } from "../link/link";
import type { Item, PageFrame, TaskView } from "../protocol";

export type TaskStatus = TaskView["status"];
export const COLUMNS: readonly TaskStatus[] = ["open", "claimed", "in_progress", "completed", "failed"];
const PAGE = 50;

export interface Task {
  /** The message that is the task. */
  item: Item;
  task: TaskView;
  /** Why and when it was last freed, as far as the page saw it. */
  released: { reason: string; at: string } | null;
}

export class Tasks {
  readonly byId = signal<ReadonlyMap<string, Task>>(new Map());
  readonly earlier = signal<ReadonlySet<TaskStatus>>(new Set());
  readonly loaded = signal(false);
  readonly columns = computed(() => {
    const all = [...this.byId.value.values()].sort((one, other) => other.item.seq - one.item.seq);
    return new Map(COLUMNS.map((status) => [status, all.filter((one) => one.task.status === status)]));
  });

  constructor(private readonly link: Link) {}

  async load(): Promise<void> {
    const pages = await Promise.all(COLUMNS.map((status) => this.page(status)));
    const before = this.byId.value;
    const found = new Map<string, Task>();
    for (const item of pages.flatMap((page) => page.items)) enter(found, item, before.get(item.message)?.released);
    this.byId.value = found;
    this.earlier.value = new Set(COLUMNS.filter((_, index) => pages[index]?.earlier));
    this.loaded.value = true;
  }

  async loadMore(status: TaskStatus): Promise<void> {
    const last = this.columns.value.get(status)?.at(-1);
    const page = await this.page(status, last?.item.message);
    const found = new Map(this.byId.value);
    for (const item of page.items) enter(found, item);
    this.byId.value = found;
    const earlier = new Set(this.earlier.value);
    if (!page.earlier) earlier.delete(status);
    this.earlier.value = earlier;
  }

  /** Take in a message that is a task, or a change of one. */
  take(item: Item): void {
    if (item.task === null) return;
    const known = this.byId.value.get(item.message);
    const isMessage = item.kind === "message" || item.kind === "reply";
    const released = item.kind === "release" ? { reason: item.content, at: item.ts } : (known?.released ?? null);
    if (isMessage || known !== undefined) {
      const message = known?.item ?? item;
      const task = { ...item.task, result: item.task.result, error: item.task.error };
      this.byId.value = new Map(this.byId.value).set(item.message, {
        item: { ...message, badges: item.badges, task },
        task,
        released,
      });
    } else void this.fetch(item.message, released);
  }

  /** The task with its result, read from the hub. */
  async fetch(message: string, released: Task["released"] = null): Promise<void> {
    const page = await this.link.ask<PageFrame>({ type: "read", message });
    const found = new Map(this.byId.value);
    for (const item of page.items) enter(found, item, released ?? found.get(message)?.released);
    this.byId.value = found;
  }

  private page(status: TaskStatus, before?: string): Promise<PageFrame> {
    return this.link.ask<PageFrame>({
      type: "read",
      badge: `task:${status}`,
      limit: PAGE,
      ...(before === undefined ? {} : { before }),
    });
  }
}

function enter(found: Map<string, Task>, item: Item, released: Task["released"] = null): void {
  if (item.task !== null) found.set(item.message, { item, task: item.task, released });
}
