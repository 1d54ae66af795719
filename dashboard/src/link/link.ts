// The connection to the hub: one WebSocket after the other, resumed by cursor, and requests that outlive them.
//
// Owns the cursor (epoch and the last seq that was delivered) and the requests without an answer. Invariant: frames
// are handed on in order, every delivery once; a hole, another epoch or a restored log is announced as a fresh start,
// and then whoever keeps copies reads them anew. A request that reads, or that carries a `cid`, is sent again after a
// reconnect and answered once. One that must not be repeated (a decision, a launch) fails with the connection.

import { signal } from "@preact/signals";
import { BadFrame, decodeFrame } from "../decode";
import { type ErrorFrame, type FromHub, type FromPage, type OpenedFrame, PROTOCOL } from "../protocol";

const RETRY_FIRST_MS = 250;
export const RETRY_MAX_MS = 5_000;
export const QUIET_MS = 20_000; // nothing heard for so long: ask for something
export const DEAD_MS = 10_000; // and nothing since then: the connection is dead
export const ANSWER_MS = 45_000; // longer than both: what is asked just before a cable is pulled is asked again
const ONCE_ONLY = new Set(["decide", "launch", "pair", "revoke", "open"]);

export type LinkState = "starting" | "connecting" | "open" | "waiting" | "unpaired" | "closed";
export type Request = Exclude<FromPage, { type: "open" }>;
type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;
export type Asked = WithoutId<Request>;
type AnswerOf = Extract<FromHub, { id: string | null }>;

/** A request that was refused, or that got no answer. `message` is for people. */
export class Refusal extends Error {
  constructor(
    readonly code: ErrorFrame["code"] | "no_answer",
    message: string,
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
  }
}

/** Thrown by `ticket` of a browser that is not paired (any more). */
export class Unpaired extends Error {}

/** What the link needs of the world, so that tests give it another one. */
export interface World {
  /** A one-time ticket for the stream. Throws Unpaired, or anything else if the hub does not answer. */
  ticket(): Promise<string>;
  socket(ticket: string): Socket;
  version: string;
}

export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  send(text: string): void;
  close(): void;
}

export interface Listener {
  /** The stream is open. Not `resumed`: deliveries do not continue where they ended, so copies are to be read anew. */
  opened(frame: OpenedFrame, resumed: boolean): void;
  frame(frame: FromHub): void;
}

interface Waiting {
  frame: Request;
  resolve: (answer: never) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class Link {
  readonly state = signal<LinkState>("starting");
  /** When the next try is, in ms since the epoch, while `state` is `waiting`. */
  readonly retryAt = signal(0);
  private readonly prefix = Math.random().toString(36).slice(2, 8);
  private readonly waiting = new Map<string, Waiting>();
  private cursor: { epoch: string; seq: number } | null = null;
  private socket: Socket | null = null;
  private numbers = 0;
  private failures = 0;
  private openId = "";
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private quietTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly world: World,
    private readonly listener: Listener,
  ) {}

  /** Connect now, whatever is planned. While a connection stands or is being made, nothing happens. */
  start(): void {
    if (this.socket !== null || this.state.value === "connecting") return;
    clearTimeout(this.retryTimer);
    void this.connect();
  }

  /** Hang up and stay so until `start`. */
  stop(): void {
    clearTimeout(this.retryTimer);
    clearTimeout(this.quietTimer);
    const socket = this.socket;
    this.socket = null;
    this.state.value = "closed";
    socket?.close();
  }

  /** Ask for something; the answer, or a Refusal. */
  ask<Answer extends AnswerOf>(request: Asked): Promise<Answer> {
    const id = `${this.prefix}-${++this.numbers}`;
    const frame = { ...request, id } as Request;
    return new Promise<Answer>((resolve, reject) => {
      if (ONCE_ONLY.has(frame.type) && this.state.value !== "open") {
        reject(new Refusal("unavailable", "The hub is not connected. Try again once it is."));
        return;
      }
      const timer = setTimeout(() => this.giveUp(id), ANSWER_MS);
      this.waiting.set(id, { frame, resolve, reject, timer });
      if (this.state.value === "open") this.write(frame);
    });
  }

  /** An idempotency id for one change. */
  cid(): string {
    return crypto.randomUUID();
  }

  private async connect(): Promise<void> {
    this.state.value = "connecting";
    let ticket: string;
    try {
      ticket = await this.world.ticket();
    } catch (error) {
      if (this.state.value !== "connecting") return;
      if (error instanceof Unpaired) this.state.value = "unpaired";
      else this.retry();
      return;
    }
    if (this.state.value !== "connecting") return;
    const socket = this.world.socket(ticket);
    this.socket = socket;
    socket.onopen = () => this.sayOpen();
    socket.onmessage = (event) => {
      if (this.socket === socket) this.hear(event.data);
    };
    socket.onclose = () => {
      if (this.socket === socket) this.lost();
    };
    this.listen();
  }

  private sayOpen(): void {
    this.openId = `${this.prefix}-${++this.numbers}`;
    const resume = this.cursor === null ? {} : { epoch: this.cursor.epoch, after_seq: this.cursor.seq };
    this.write({ type: "open", id: this.openId, protocol: PROTOCOL, version: this.world.version, ...resume });
  }

  private write(frame: FromPage): void {
    this.socket?.send(JSON.stringify(frame));
  }

  private hear(data: unknown): void {
    this.listen();
    let frame: FromHub;
    try {
      frame = decodeFrame(String(data));
    } catch (error) {
      if (!(error instanceof BadFrame)) throw error;
      console.error("a frame that cannot be read", error);
      return;
    }
    this.take(frame);
  }

  private take(frame: FromHub): void {
    if (frame.type === "opened") this.begin(frame);
    else if (frame.type === "batch") {
      if (this.cursor === null || frame.from_seq > this.cursor.seq + 1) {
        this.startOver();
        return;
      }
      const items = frame.items.filter((item) => this.cursor !== null && item.seq > this.cursor.seq);
      this.cursor.seq = Math.max(this.cursor.seq, frame.to_seq);
      this.listener.frame({ ...frame, items });
    } else if (frame.type === "bye") {
      this.listener.frame(frame);
      this.hangUp(frame.retry_after_ms);
    } else if ("id" in frame && frame.id !== null && this.waiting.has(frame.id)) this.answer(frame.id, frame);
    else if (frame.type === "error" && frame.id === this.openId) this.refused(frame);
    else this.listener.frame(frame);
  }

  private begin(frame: OpenedFrame): void {
    const resumed = this.cursor?.epoch === frame.epoch && this.cursor.seq === frame.after_seq;
    this.cursor = { epoch: frame.epoch, seq: frame.after_seq };
    this.failures = 0;
    this.state.value = "open";
    this.listener.opened(frame, resumed);
    for (const { frame: request } of this.waiting.values()) this.write(request);
  }

  private answer(id: string, frame: FromHub): void {
    const asked = this.waiting.get(id);
    if (asked === undefined) return;
    this.waiting.delete(id);
    clearTimeout(asked.timer);
    if (frame.type === "error") asked.reject(new Refusal(frame.code, frame.message, frame.retry_after_ms));
    else asked.resolve(frame as never);
  }

  private giveUp(id: string): void {
    const asked = this.waiting.get(id);
    this.waiting.delete(id);
    asked?.reject(new Refusal("no_answer", "The hub did not answer. What was asked may or may not have happened."));
  }

  /** The stream has a hole: forget the cursor and connect anew, which is a fresh start. */
  private startOver(): void {
    this.cursor = null;
    this.hangUp(0);
  }

  private refused(frame: ErrorFrame): void {
    this.listener.frame(frame);
    this.hangUp(frame.retry_after_ms ?? RETRY_MAX_MS);
  }

  private hangUp(retryAfterMs: number): void {
    const socket = this.socket;
    this.lost(retryAfterMs);
    socket?.close();
  }

  private lost(retryAfterMs?: number): void {
    this.socket = null;
    clearTimeout(this.quietTimer);
    for (const [id, { frame, reject, timer }] of [...this.waiting]) {
      if (!ONCE_ONLY.has(frame.type)) continue;
      this.waiting.delete(id);
      clearTimeout(timer);
      reject(new Refusal("unavailable", "The connection to the hub was lost before it answered."));
    }
    this.retry(retryAfterMs);
  }

  private retry(afterMs?: number): void {
    const grown = Math.min(RETRY_FIRST_MS * 2 ** this.failures, RETRY_MAX_MS);
    this.failures += 1;
    const delay = Math.max(afterMs ?? 0, grown * (0.75 + Math.random() / 2));
    this.state.value = "waiting";
    this.retryAt.value = Date.now() + delay;
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => void this.connect(), delay);
  }

  /** Something was heard just now. A sleeping laptop leaves connections that look alive: those are asked, and cut. */
  private listen(): void {
    clearTimeout(this.quietTimer);
    this.quietTimer = setTimeout(() => {
      this.quietTimer = setTimeout(() => this.hangUp(0), DEAD_MS);
      if (this.state.value === "open") void this.ask({ type: "peers" }).catch(() => undefined);
    }, QUIET_MS);
  }
}
