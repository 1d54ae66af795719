// The permission requests that wait, the rules and browsers of the desk, and the decisions made here.

import { computed, signal } from "@preact/signals";
import { loadKey, sign } from "../link/keys";
import type { Link } from "../link/link";
import { digestOf, forEvent, type Output } from "../permission/request";
import type { DeskFrame, DoneFrame, FromHub, PairingFrame, PermissionView } from "../protocol";

/** A request as the page has it. `genuine` is null until its digest was computed. */
export interface Pending {
  view: PermissionView;
  genuine: boolean | null;
  deciding: boolean;
}

interface Settled {
  view: PermissionView;
  text: string;
}

export class Desk {
  readonly pending = signal<readonly Pending[]>([]);
  readonly pairings = signal<readonly PairingFrame[]>([]);
  readonly rules = signal<readonly string[]>([]);
  readonly presets = signal<DeskFrame["presets"]>([]);
  readonly keys = signal<DeskFrame["keys"]>([]);
  /** Requests that were ticked, to be decided together. */
  readonly ticked = signal<ReadonlySet<string>>(new Set());
  readonly count = computed(() => this.pending.value.length + this.pairings.value.length);
  private untold = new Set<string>(); // requests that the hub did not tell again since the reconnect

  constructor(
    private readonly link: Link,
    private readonly arrived: (view: PermissionView) => void,
    private readonly settled: (one: Settled) => void,
  ) {}

  /** After a reconnect the hub tells everything that waits again, and then `desk`: what it does not tell is over.
   *
   * Until then the requests stay, so that none is announced twice and nothing that is being written at one is lost. */
  startOver(): void {
    this.untold = new Set(this.pending.value.map((one) => one.view.id));
    this.pairings.value = [];
  }

  take(frame: FromHub): boolean {
    switch (frame.type) {
      case "permission":
        void this.add(frame.request);
        return true;
      case "permission_over": {
        const found = this.find(frame.request);
        this.remove(frame.request);
        if (found !== undefined) this.settled({ view: found.view, text: endOf(frame) });
        return true;
      }
      case "desk":
        this.rules.value = frame.rules;
        this.presets.value = frame.presets;
        this.keys.value = frame.keys;
        for (const request of this.untold) this.remove(request);
        this.untold.clear();
        return true;
      case "pairing": {
        const others = this.pairings.value.filter((one) => one.pairing !== frame.pairing);
        this.pairings.value = frame.over ? others : [...others, frame];
        return true;
      }
      default:
        return false;
    }
  }

  tick(request: string, on: boolean): void {
    const ticked = new Set(this.ticked.value);
    if (on) ticked.add(request);
    else ticked.delete(request);
    this.ticked.value = ticked;
  }

  /** Sign and send a decision. Throws if the request is not what the session sent, or if it is over. */
  async decide(request: string, output: Output): Promise<void> {
    const found = this.find(request);
    if (found === undefined) throw new Error("This request does not wait any more.");
    const { view } = found;
    this.change(request, { deciding: true });
    try {
      if ((await digestOf(view)) !== view.digest) throw new Error("This request is not what the session sent.");
      const key = await loadKey();
      if (key === undefined) throw new Error("This browser is not paired any more.");
      const printed = forEvent(view.raw, output);
      const payload = JSON.stringify({ id: view.id, digest: view.digest, hub_nonce: view.hub_nonce, output: printed });
      const signature = await sign(key, payload);
      await this.link.ask<DoneFrame>({ type: "decide", request, payload, signature });
      this.remove(request);
    } finally {
      this.change(request, { deciding: false });
    }
  }

  private find(request: string): Pending | undefined {
    return this.pending.value.find((one) => one.view.id === request);
  }

  private async add(view: PermissionView): Promise<void> {
    this.untold.delete(view.id);
    if (this.find(view.id) !== undefined) return;
    this.pending.value = [...this.pending.value, { view, genuine: null, deciding: false }];
    this.arrived(view);
    this.change(view.id, { genuine: (await digestOf(view).catch(() => "")) === view.digest });
  }

  private change(request: string, to: Partial<Pending>): void {
    this.pending.value = this.pending.value.map((one) => (one.view.id === request ? { ...one, ...to } : one));
  }

  private remove(request: string): void {
    this.pending.value = this.pending.value.filter((one) => one.view.id !== request);
    this.tick(request, false);
  }
}

function endOf(frame: Extract<FromHub, { type: "permission_over" }>): string {
  switch (frame.how) {
    case "decided":
      return `${frame.behavior === "deny" ? "denied" : "allowed"}${frame.by === null ? "" : ` in ${frame.by}`}`;
    case "answered_elsewhere":
      return "answered in the terminal";
    case "expired":
      return "waited too long; the terminal asks";
    case "gone":
      return "the session no longer waits";
  }
}
