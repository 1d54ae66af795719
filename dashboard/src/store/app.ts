// Everything the page knows, and how what the hub says changes it.
//
// One object for the whole page, given to the views by context. It owns the link; frames come in here and go to the
// part they concern. After a fresh start every part reads its beginning anew; after a resume nothing is read again.

import { computed, signal } from "@preact/signals";
import { type Asked, Link, Refusal, type World } from "../link/link";
import type {
  ByeFrame,
  DoneFrame,
  EventPageFrame,
  EventView,
  FromHub,
  HubFrame,
  Item,
  LaunchedFrame,
  OpenedFrame,
  PageFrame,
  PeerView,
  SentFrame,
  UnjoinedView,
} from "../protocol";
import { Desk } from "./desk";
import { isNumber, remembered } from "./memory";
import { answeredBy, Needs } from "./needs";
import { Tasks } from "./tasks";
import { CHANNEL, type Selection, Timeline } from "./timeline";
import { announce, toast } from "./toasts";

const EVENTS = 100;
const COUNT_AFTER_MS = 400;

export class App {
  readonly link: Link;
  readonly channel: Timeline;
  readonly tasks: Tasks;
  readonly needs: Needs;
  readonly desk: Desk;
  readonly opened = signal<OpenedFrame | null>(null);
  readonly hub = signal<HubFrame | null>(null);
  readonly people = signal<readonly PeerView[]>([]);
  readonly unjoined = signal<readonly UnjoinedView[]>([]);
  readonly events = signal<readonly EventView[]>([]);
  readonly eventsEarlier = signal(false);
  readonly bye = signal<ByeFrame | null>(null);
  readonly readUpto = remembered("read", 0, isNumber);
  /** Long messages that are shown whole, and what of their text came in later pages. */
  readonly unfolded = signal<ReadonlyMap<string, string>>(new Map());
  readonly connected = computed(() => this.link.state.value === "open");
  readonly outdated = computed(() => {
    const running = this.opened.value?.version;
    return running !== undefined && running !== this.version ? running : null;
  });
  readonly agentNames = computed(() => this.people.value.map((agent) => agent.name));
  readonly peopleById = computed(() => new Map(this.people.value.map((agent) => [agent.id, agent])));
  private readonly timelines = new Set<Timeline>();
  private readonly recounts = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(
    world: World,
    private readonly version: string = world.version,
    arrived: (kind: "permission" | "question", who: string) => void = () => undefined,
  ) {
    this.link = new Link(world, {
      opened: (frame, resumed) => this.begin(frame, resumed),
      frame: (frame) => this.take(frame),
    });
    this.channel = this.follow(CHANNEL);
    this.tasks = new Tasks(this.link);
    this.needs = new Needs(this.link, (need) => {
      if (need.kind !== "question") return;
      announce(`${need.name} asks you something`);
      arrived("question", need.name);
    });
    this.desk = new Desk(
      this.link,
      (view) => {
        announce(`${view.name} asks for permission`);
        arrived("permission", view.name);
      },
      ({ view, text }) => toast(`Permission for ${view.name}: ${text}`),
    );
  }

  /** A timeline that follows what comes in, until `unfollow`. */
  follow(selection: Selection): Timeline {
    const timeline = new Timeline(this.link, selection);
    this.timelines.add(timeline);
    return timeline;
  }

  unfollow(timeline: Timeline): void {
    this.timelines.delete(timeline);
  }

  /** Ask for a change, with an id that lets it be repeated safely. */
  change<Answer extends DoneFrame | SentFrame | FromHub>(request: WithoutCid): Promise<Answer> {
    return this.link.ask({ ...request, cid: this.link.cid() } as Asked) as Promise<Answer>;
  }

  send(content: string, thread: string | null = null): Promise<SentFrame> {
    return this.change<SentFrame>({ type: "send", content, ...(thread === null ? {} : { thread }) });
  }

  async clearChannel(): Promise<void> {
    await this.change({ type: "clear" });
    toast("Earlier messages left the chat. Nothing is deleted.", "plain", {
      label: "Undo",
      run: () => void this.restoreChannel(),
    });
  }

  async restoreChannel(): Promise<void> {
    try {
      await this.change({ type: "restore" });
      await this.channel.load();
    } catch (error) {
      toast(error instanceof Refusal ? error.message : "They could not be brought back.", "bad");
    }
  }

  launch(project: string, name: string): Promise<LaunchedFrame> {
    return this.link.ask<LaunchedFrame>({ type: "launch", project, ...(name === "" ? {} : { name }) });
  }

  async loadEvents(): Promise<void> {
    const first = this.events.value[0];
    const page = await this.link.ask<EventPageFrame>({
      type: "events",
      limit: EVENTS,
      ...(first === undefined ? {} : { before: first.seq }),
    });
    this.events.value = inOrder([...page.events, ...this.events.value]);
    this.eventsEarlier.value = page.earlier;
  }

  unfold(message: string, rest = ""): void {
    this.unfolded.value = new Map([...this.unfolded.value, [message, rest]]);
  }

  /** The person has seen the chat up to there. */
  markRead(seq: number): void {
    if (seq > this.readUpto.value) this.readUpto.value = seq;
  }

  private begin(frame: OpenedFrame, resumed: boolean): void {
    const before = this.opened.value;
    this.opened.value = frame;
    this.bye.value = null;
    this.desk.startOver();
    if (resumed) return;
    // A restored log is an older one: what was read beyond its end was in another.
    if (before !== null && before.epoch !== frame.epoch)
      this.readUpto.value = Math.min(this.readUpto.value, frame.head);
    if (this.readUpto.value === 0) this.readUpto.value = frame.head;
    this.events.value = [];
    // Messages first: they are what is looked at. What cannot be read now is read with the next fresh start.
    const ignore = (): void => undefined;
    void Promise.all([...this.timelines].map((timeline) => timeline.reload())).then(() => {
      void this.tasks.load().catch(ignore);
      void this.loadEvents().catch(ignore);
    });
  }

  private take(frame: FromHub): void {
    if (this.desk.take(frame)) return;
    switch (frame.type) {
      case "batch":
        for (const item of frame.items) this.takeItem(item);
        return;
      case "people":
        this.people.value = frame.agents;
        this.unjoined.value = frame.unjoined;
        return;
      case "needs":
        this.needs.take(frame.needs);
        return;
      case "hub":
        this.hub.value = frame;
        return;
      case "cleared":
        this.channel.drop((item) => item.seq <= frame.upto && (item.to === null || item.here));
        return;
      case "event":
        this.events.value = inOrder([...this.events.value, frame.event]);
        return;
      case "bye":
        this.bye.value = frame;
        return;
      case "error":
        toast(frame.message, "bad");
        return;
    }
  }

  private takeItem(item: Item): void {
    this.tasks.take(item);
    if (item.kind !== "message" && item.kind !== "reply") {
      this.patch(item.message, (old) => ({ ...old, badges: item.badges, task: item.task }));
      return;
    }
    for (const timeline of this.timelines) timeline.append(item);
    if (item.kind === "message" || item.thread === null) return;
    if (item.source === "user") this.answer(item);
    this.patch(item.thread, (root) => ({ ...root, replies: root.replies + 1 }));
    this.recount(item.thread);
  }

  private patch(message: string, change: (item: Item) => Item): void {
    for (const timeline of this.timelines) timeline.patch(message, change);
    this.needs.patch(message, change);
  }

  private answer(reply: Item): void {
    for (const timeline of this.timelines) {
      for (const item of timeline.items.value) {
        if (answeredBy(reply, item)) timeline.patch(item.message, withAnsweredQuestion);
      }
    }
  }

  /** A page that was read while replies came in may have counted them already: the hub's count is the right one. */
  private recount(root: string): void {
    clearTimeout(this.recounts.get(root));
    const timer = setTimeout(() => {
      this.recounts.delete(root);
      if (![...this.timelines].some((timeline) => timeline.has(root))) return;
      void this.link.ask<PageFrame>({ type: "read", message: root }).then(
        ({ items }) => {
          const replies = items[0]?.replies;
          if (replies === undefined) return;
          this.patch(root, (item) => ({ ...item, replies }));
        },
        () => undefined,
      );
    }, COUNT_AFTER_MS);
    this.recounts.set(root, timer);
  }
}

type Without<T> = T extends { cid: string } ? Omit<T, "cid"> : never;
type WithoutCid = Without<Asked>;

function withAnsweredQuestion(item: Item): Item {
  return {
    ...item,
    badges: item.badges.map((badge) => (badge.type === "question" ? { ...badge, value: "answered" } : badge)),
  };
}

function inOrder(events: readonly EventView[]): EventView[] {
  return [...new Map(events.map((event) => [event.seq, event])).values()].sort((one, other) => one.seq - other.seq);
}
