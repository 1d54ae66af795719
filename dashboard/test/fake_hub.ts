// A hub for tests: it speaks the protocol over sockets of its own, and does what a test tells it.

import { decodeView } from "../src/decode";
import type { Socket, World } from "../src/link/link";
import type { FromHub, FromPage, Item, OpenedFrame, PeerView, PermissionView } from "../src/protocol";

type Said<Type extends FromPage["type"]> = Extract<FromPage, { type: Type }>;
/** A frame for the page; what has a default may be left out, as the hub does. */
export type Sparse = { type: FromHub["type"] } & Record<string, unknown>;

export class FakeSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  readonly said: FromPage[] = [];
  closed = false;

  constructor(private readonly hub: FakeHub) {}

  send(text: string): void {
    const frame = JSON.parse(text) as FromPage;
    this.said.push(frame);
    this.hub.hear(this, frame);
  }

  close(): void {
    this.closed = true;
  }

  tell(frame: Sparse): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** The network is cut. */
  cut(): void {
    this.closed = true;
    this.onclose?.();
  }
}

export class FakeHub implements World {
  version = "1.0";
  epoch = "e1";
  head = 0;
  readonly log: Item[] = [];
  readonly sockets: FakeSocket[] = [];
  /** The permission requests that wait: told to whoever connects, before `desk`, as the hub does. */
  readonly requests: PermissionView[] = [];
  tickets = 0;
  /** What `ticket` throws, if anything. */
  trouble: Error | null = null;
  /** Requests of these types stay without an answer. */
  readonly silent = new Set<FromPage["type"]>();
  /** Answers to requests; without one, a plain answer is given. */
  readonly answers = new Map<FromPage["type"], (frame: FromPage) => Sparse | null>();

  async ticket(): Promise<string> {
    this.tickets += 1;
    if (this.trouble !== null) throw this.trouble;
    return `ticket-${this.tickets}`;
  }

  socket(): FakeSocket {
    const made = new FakeSocket(this);
    this.sockets.push(made);
    queueMicrotask(() => made.onopen?.());
    return made;
  }

  get current(): FakeSocket {
    const last = this.sockets.at(-1);
    if (last === undefined) throw new Error("nobody connected");
    return last;
  }

  /** Everything the page asked for of one type, on any connection. */
  asked<Type extends FromPage["type"]>(type: Type): Said<Type>[] {
    return this.sockets.flatMap((socket) => socket.said).filter((frame): frame is Said<Type> => frame.type === type);
  }

  hear(socket: FakeSocket, frame: FromPage): void {
    if (frame.type === "open") {
      this.open(socket, frame);
      return;
    }
    if (this.silent.has(frame.type)) return;
    const own = this.answers.get(frame.type);
    const answer = own === undefined ? this.answerTo(frame) : own(frame);
    if (answer !== null) socket.tell({ id: frame.id, ...answer });
  }

  /** Something was committed, and is delivered to whoever is connected. */
  commit(...items: Item[]): void {
    this.log.push(...items);
    const first = items[0]?.seq ?? this.head + 1;
    this.head = Math.max(this.head, ...items.map((one) => one.seq));
    for (const socket of this.sockets) {
      if (!socket.closed) socket.tell({ type: "batch", from_seq: first, to_seq: this.head, items });
    }
  }

  private open(socket: FakeSocket, frame: Said<"open">): void {
    const resumes = frame.epoch === this.epoch && frame.after_seq !== undefined && frame.after_seq !== null;
    const after = resumes ? (frame.after_seq ?? 0) : this.head;
    const opened: Omit<OpenedFrame, "cleared"> = {
      type: "opened",
      id: frame.id,
      protocol: 1,
      version: this.version,
      epoch: this.epoch,
      after_seq: after,
      head: this.head,
      key: "k",
      label: "a test",
    };
    socket.tell({ ...opened });
    const missed = this.log.filter((item) => item.seq > after);
    for (const request of this.requests) socket.tell({ type: "permission", request });
    socket.tell({ type: "desk" });
    if (after < this.head) socket.tell({ type: "batch", from_seq: after + 1, to_seq: this.head, items: missed });
  }

  private answerTo(frame: FromPage): Sparse | null {
    switch (frame.type) {
      case "read":
        return { type: "page", items: this.select(frame) };
      case "search":
        return { type: "page", items: [] };
      case "peers":
        return { type: "peer_list" };
      case "events":
        return { type: "event_page" };
      case "send":
        return { type: "sent", message: `m${this.head + 1}`, seq: this.head + 1 };
      default:
        return { type: "done" };
    }
  }

  private select(frame: Said<"read">): Item[] {
    const messages = this.log.filter((item) => item.kind === "message");
    if (frame.message) return this.log.filter((item) => item.message === frame.message).slice(0, 1);
    if (frame.badge) return [];
    const at = messages.findIndex((item) => item.message === (frame.before ?? frame.after));
    const limit = frame.limit ?? 20;
    if (frame.before) return messages.slice(Math.max(0, at - limit), at);
    if (frame.after) return messages.slice(at + 1, at + 1 + limit);
    return messages.slice(-limit);
  }
}

// Views are completed as the page completes what the hub leaves out, so that a new field needs no change here.

export function item(seq: number, more: Partial<Item> = {}): Item {
  const sparse = { seq, kind: "message", message: `m${seq}`, from_id: "a1", from_name: "api", source: "agent" };
  const ts = new Date(Date.UTC(2026, 0, 1, 12, 0, seq)).toISOString();
  return decodeView({ ...sparse, ts, content: `message ${seq}`, ...more }, "Item", "item") as unknown as Item;
}

export function peer(name: string, more: Partial<PeerView> = {}): PeerView {
  const sparse = { id: `id-${name}`, name, connected: true, status: "available", cwd: "/srv" };
  return decodeView({ ...sparse, ...more }, "PeerView", "peer") as unknown as PeerView;
}

export function request(id: string, input: object, more: Partial<PermissionView> = {}): PermissionView {
  const raw = JSON.stringify({ tool_name: "Bash", tool_input: input });
  const sparse = { id, agent: "a1", name: "api", cwd: "/srv/api", raw, digest: "", hub_nonce: "00ff" };
  const received_at = "2026-01-01T12:00:00.000Z";
  return decodeView({ ...sparse, received_at, ...more }, "PermissionView", "request") as unknown as PermissionView;
}

/** Let promises that are ready go on. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}
