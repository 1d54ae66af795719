// Written by dashboard/protocol.py from crosschat/pagewire.py; do not edit.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export const PROTOCOL = 1;

export const CONTENT_BYTES = 32768;
export const SHORT_TEXT_CHARS = 200;
export const NAME_CHARS = 64;
export const PATH_CHARS = 4096;
export const PAGE_ITEMS = 20;
export const PAGE_ITEMS_MAX = 200;
export const LEASE_GRACE_S = 600;

export type Code =
  | "bad_frame"
  | "too_large"
  | "unsupported_protocol"
  | "not_joined"
  | "invalid"
  | "not_found"
  | "forbidden"
  | "conflict"
  | "unknown_mention"
  | "rate_limited"
  | "hub_full"
  | "storage_full"
  | "unavailable"
  | "superseded"
  | "internal";

// --- views

export interface BadgeView {
  type: string;
  value: string;
  label: string | null;
}

export interface Confirm {
  upto: number | null;
  seqs: number[];
}

export interface DamageView {
  file: string;
  line: number;
  reason: string;
}

export interface EventView {
  seq: number;
  ts: string;
  kind: "joined" | "left" | "hub_started" | "hub_stopping" | "paired" | "pairing_refused" | "revoked" | "decided" | "answered_elsewhere" | "alarm" | "cleared" | "restored" | "launched" | "paused" | "resumed";
  text: string;
  agent: string | null;
  name: string | null;
}

export interface GuardView {
  message: string;
  author: string;
  replies: number;
}

export interface Item {
  seq: number;
  kind: "message" | "reply" | "badge" | "flag" | "claim" | "progress" | "release" | "resolve";
  message: string;
  from_id: string;
  from_name: string;
  source: "agent" | "user" | "cli" | "system";
  ts: string;
  content: string;
  thread: string | null;
  to: string[] | null;
  here: boolean;
  private: boolean;
  importance: "important" | "comment" | "chitchat" | null;
  metadata: JsonObject | null;
  badges: BadgeView[];
  task: TaskView | null;
  replies: number;
  recipients: RecipientView[] | null;
  quiet: boolean;
  offset: number;
  more: number | null;
}

export interface KeyView {
  id: string;
  label: string;
  paired_at: string;
  last_seen_at: string | null;
  current: boolean;
  vouched: boolean;
}

export interface Need {
  kind: "question" | "stuck" | "reopened" | "unread";
  message: string;
  seq: number;
  agent: string;
  name: string;
  since: string;
}

export interface PeerView {
  id: string;
  name: string;
  connected: boolean;
  status: "available" | "busy" | "away";
  cwd: string;
  detail: string | null;
  project: string | null;
  task: string | null;
  silent_s: number | null;
  unread: number;
  unread_since: string | null;
  claims: string[];
  activity: "working" | "waiting" | "idle" | null;
  mode: string | null;
  paused: boolean;
  wake: "auto" | "inbox" | "hooks" | "wait" | "off" | null;
  way: "inbox" | "hooks" | "wait" | "none" | null;
  budget_s: number | null;
  since: string | null;
  cursor: number;
  offered: number;
  shown: number[];
}

export interface PermissionView {
  id: string;
  agent: string;
  name: string;
  cwd: string;
  raw: string;
  digest: string;
  hub_nonce: string;
  received_at: string;
  mode: string | null;
  printing: boolean;
}

export interface PresetView {
  name: string;
  rules: string[];
}

export interface ProjectView {
  id: string;
  path: string;
  name: string;
  exists: boolean;
  automatic: boolean;
  agents: string[];
}

export interface RecipientView {
  name: string;
  state: "stored" | "offered" | "shown" | "answered";
  away: boolean;
}

export interface TaskFilter {
  agent: string | null;
  working_dir: string | null;
  project: string | null;
}

export interface TaskView {
  status: "open" | "claimed" | "in_progress" | "completed" | "failed";
  owner: string;
  claimant: string | null;
  claimant_id: string | null;
  claims: number;
  filter: TaskFilter | null;
  flagged_at: string | null;
  claimed_at: string | null;
  finished_at: string | null;
  result: string | null;
  error: string | null;
}

export interface UnjoinedView {
  name: string;
  cwd: string;
  remedy: string;
  session: string | null;
  status: string | null;
}

// --- calls over HTTP, and their answers

export interface PairFrame {
  type: "pair";
  code: string;
  key: string;
  label: string;
}

export interface AwaitPairingFrame {
  type: "pairing";
  pairing: string;
}

export interface ChallengeFrame {
  type: "challenge";
  key: string;
}

export interface GetTicketFrame {
  type: "ticket";
  key: string;
  challenge: string;
  signature: string;
}

export interface PairedFrame {
  type: "paired";
  state: "paired" | "waiting" | "refused" | "expired";
  key: string;
  label: string;
  fingerprint: string;
  pairing: string | null;
}

export interface ChallengedFrame {
  type: "challenged";
  challenge: string;
}

export interface TicketedFrame {
  type: "ticketed";
  ticket: string;
}

// --- from the page

export interface OpenFrame {
  type: "open";
  id: string;
  protocol: number;
  version: string;
  epoch?: string | null;
  after_seq?: number | null;
}

export interface SendFrame {
  type: "send";
  id: string;
  cid: string;
  content: string;
  thread?: string | null;
  metadata?: JsonObject | null;
  importance?: "important" | "comment" | "chitchat" | null;
}

export interface ReadFrame {
  type: "read";
  id: string;
  thread?: string | null;
  limit?: number;
  unread?: boolean;
  before?: string | null;
  after?: string | null;
  badge?: string | null;
  message?: string | null;
  offset?: number;
}

export interface PeersFrame {
  type: "peers";
  id: string;
}

export interface FlagTaskFrame {
  type: "flag";
  id: string;
  cid: string;
  message: string;
  filter?: TaskFilter | null;
}

export interface AddBadgeFrame {
  type: "badge";
  id: string;
  cid: string;
  message: string;
  badge_type: string;
  value: string;
  label?: string | null;
}

export interface ReleaseTaskFrame {
  type: "release";
  id: string;
  cid: string;
  message: string;
  reopen?: boolean;
}

export interface PauseAgentFrame {
  type: "pause";
  id: string;
  cid: string;
  agent: string;
  paused?: boolean;
}

export interface ClearChannelFrame {
  type: "clear";
  id: string;
  cid: string;
}

export interface ReassignTaskFrame {
  type: "reassign";
  id: string;
  cid: string;
  message: string;
  agent: string;
}

export interface RestoreFrame {
  type: "restore";
  id: string;
  cid: string;
}

export interface DecideFrame {
  type: "decide";
  id: string;
  request: string;
  payload: string;
  signature: string;
}

export interface AskRuleFrame {
  type: "ask";
  id: string;
  rule: string;
  change?: "add" | "remove";
}

export interface AnswerPairingFrame {
  type: "pair";
  id: string;
  pairing: string;
  accept: boolean;
}

export interface RevokeKeyFrame {
  type: "revoke";
  id: string;
  key: string;
}

export interface SearchFrame {
  type: "search";
  id: string;
  query?: string;
  sender?: string | null;
  party?: string | null;
  badge?: string | null;
  since?: string | null;
  until?: string | null;
  before?: string | null;
  limit?: number;
}

export interface EventsFrame {
  type: "events";
  id: string;
  before?: number | null;
  limit?: number;
}

export interface ChangeProjectFrame {
  type: "project";
  id: string;
  path?: string | null;
  project?: string | null;
}

export interface LaunchFrame {
  type: "launch";
  id: string;
  project: string;
  name?: string | null;
}

export type FromPage =
  | OpenFrame
  | SendFrame
  | ReadFrame
  | PeersFrame
  | FlagTaskFrame
  | AddBadgeFrame
  | ReleaseTaskFrame
  | PauseAgentFrame
  | ClearChannelFrame
  | ReassignTaskFrame
  | RestoreFrame
  | DecideFrame
  | AskRuleFrame
  | AnswerPairingFrame
  | RevokeKeyFrame
  | SearchFrame
  | EventsFrame
  | ChangeProjectFrame
  | LaunchFrame;

// --- from the hub

export interface OpenedFrame {
  type: "opened";
  id: string;
  protocol: number;
  version: string;
  epoch: string;
  after_seq: number;
  head: number;
  key: string;
  label: string;
  cleared: number;
}

export interface BatchFrame {
  type: "batch";
  from_seq: number;
  to_seq: number;
  items: Item[];
}

export interface SentFrame {
  type: "sent";
  id: string;
  message: string;
  seq: number;
  thread: string | null;
  states: Record<string, number>;
  away: string[];
  unresolved: string[];
}

export interface PageFrame {
  type: "page";
  id: string;
  items: Item[];
  earlier: boolean;
  later: boolean;
  unread: number;
  confirm: Confirm | null;
  behind: number;
}

export interface PeerListFrame {
  type: "peer_list";
  id: string;
  peers: PeerView[];
}

export interface DoneFrame {
  type: "done";
  id: string;
  seq: number | null;
  message: string | null;
  task: TaskView | null;
}

export interface ClearedFrame {
  type: "cleared";
  upto: number;
}

export interface ErrorFrame {
  type: "error";
  id: string | null;
  code: Code;
  message: string;
  path: string | null;
  retry_after_ms: number | null;
}

export interface ByeFrame {
  type: "bye";
  reason: string;
  retry_after_ms: number;
  until_asked: boolean;
}

export interface PeopleFrame {
  type: "people";
  agents: PeerView[];
  unjoined: UnjoinedView[];
}

export interface NeedsFrame {
  type: "needs";
  needs: Need[];
}

export interface PermissionFrame {
  type: "permission";
  request: PermissionView;
}

export interface PermissionOverFrame {
  type: "permission_over";
  request: string;
  how: "decided" | "answered_elsewhere" | "expired" | "gone";
  behavior: "allow" | "deny" | null;
  by: string | null;
}

export interface DeskFrame {
  type: "desk";
  rules: string[];
  presets: PresetView[];
  keys: KeyView[];
}

export interface PairingFrame {
  type: "pairing";
  pairing: string;
  label: string;
  fingerprint: string;
  over: boolean;
}

export interface EventFrame {
  type: "event";
  event: EventView;
}

export interface EventPageFrame {
  type: "event_page";
  id: string;
  events: EventView[];
  earlier: boolean;
}

export interface LaunchedFrame {
  type: "launched";
  id: string;
  where: string;
}

export interface HubFrame {
  type: "hub";
  version: string;
  home: string;
  started_at: string;
  head: number;
  open_tasks: number;
  storage_full: boolean;
  launches: string | null;
  projects: ProjectView[];
  damage: DamageView[];
  notices: string[];
  guarded: GuardView[];
}

export type FromHub =
  | OpenedFrame
  | BatchFrame
  | SentFrame
  | PageFrame
  | PeerListFrame
  | DoneFrame
  | ClearedFrame
  | ErrorFrame
  | ByeFrame
  | PeopleFrame
  | NeedsFrame
  | PermissionFrame
  | PermissionOverFrame
  | DeskFrame
  | PairingFrame
  | EventFrame
  | EventPageFrame
  | LaunchedFrame
  | HubFrame;

/** Field by field: the type and, if it may be left out, the default. */
export const FIELDS: Record<string, Record<string, [unknown, unknown?]>> = {
  BadgeView: {"type": ["string"], "value": ["string"], "label": [["maybe", "string"], null]},
  Confirm: {"upto": [["maybe", "integer"], null], "seqs": [["list", "integer"], []]},
  DamageView: {"file": ["string"], "line": ["integer"], "reason": ["string"]},
  EventView: {"seq": ["integer"], "ts": ["string"], "kind": [["one", "joined", "left", "hub_started", "hub_stopping", "paired", "pairing_refused", "revoked", "decided", "answered_elsewhere", "alarm", "cleared", "restored", "launched", "paused", "resumed"]], "text": ["string"], "agent": [["maybe", "string"], null], "name": [["maybe", "string"], null]},
  GuardView: {"message": ["string"], "author": ["string"], "replies": ["integer"]},
  Item: {"seq": ["integer"], "kind": [["one", "message", "reply", "badge", "flag", "claim", "progress", "release", "resolve"]], "message": ["string"], "from_id": ["string"], "from_name": ["string"], "source": [["one", "agent", "user", "cli", "system"]], "ts": ["string"], "content": ["string", ""], "thread": [["maybe", "string"], null], "to": [["maybe", ["list", "string"]], null], "here": ["boolean", false], "private": ["boolean", false], "importance": [["maybe", ["one", "important", "comment", "chitchat"]], null], "metadata": [["maybe", "object"], null], "badges": [["list", ["view", "BadgeView"]], []], "task": [["maybe", ["view", "TaskView"]], null], "replies": ["integer", 0], "recipients": [["maybe", ["list", ["view", "RecipientView"]]], null], "quiet": ["boolean", false], "offset": ["integer", 0], "more": [["maybe", "integer"], null]},
  KeyView: {"id": ["string"], "label": ["string"], "paired_at": ["string"], "last_seen_at": [["maybe", "string"], null], "current": ["boolean", false], "vouched": ["boolean", true]},
  Need: {"kind": [["one", "question", "stuck", "reopened", "unread"]], "message": ["string"], "seq": ["integer"], "agent": ["string"], "name": ["string"], "since": ["string"]},
  PeerView: {"id": ["string"], "name": ["string"], "connected": ["boolean"], "status": [["one", "available", "busy", "away"]], "cwd": ["string"], "detail": [["maybe", "string"], null], "project": [["maybe", "string"], null], "task": [["maybe", "string"], null], "silent_s": [["maybe", "integer"], null], "unread": ["integer", 0], "unread_since": [["maybe", "string"], null], "claims": [["list", "string"], []], "activity": [["maybe", ["one", "working", "waiting", "idle"]], null], "mode": [["maybe", "string"], null], "paused": ["boolean", false], "wake": [["maybe", ["one", "auto", "inbox", "hooks", "wait", "off"]], null], "way": [["maybe", ["one", "inbox", "hooks", "wait", "none"]], null], "budget_s": [["maybe", "integer"], null], "since": [["maybe", "string"], null], "cursor": ["integer", 0], "offered": ["integer", 0], "shown": [["list", "integer"], []]},
  PermissionView: {"id": ["string"], "agent": ["string"], "name": ["string"], "cwd": ["string"], "raw": ["string"], "digest": ["string"], "hub_nonce": ["string"], "received_at": ["string"], "mode": [["maybe", "string"], null], "printing": ["boolean", false]},
  PresetView: {"name": ["string"], "rules": [["list", "string"]]},
  ProjectView: {"id": ["string"], "path": ["string"], "name": ["string"], "exists": ["boolean", true], "automatic": ["boolean", false], "agents": [["list", "string"], []]},
  RecipientView: {"name": ["string"], "state": [["one", "stored", "offered", "shown", "answered"]], "away": ["boolean", false]},
  TaskFilter: {"agent": [["maybe", "string"], null], "working_dir": [["maybe", "string"], null], "project": [["maybe", "string"], null]},
  TaskView: {"status": [["one", "open", "claimed", "in_progress", "completed", "failed"]], "owner": ["string"], "claimant": [["maybe", "string"], null], "claimant_id": [["maybe", "string"], null], "claims": ["integer", 0], "filter": [["maybe", ["view", "TaskFilter"]], null], "flagged_at": [["maybe", "string"], null], "claimed_at": [["maybe", "string"], null], "finished_at": [["maybe", "string"], null], "result": [["maybe", "string"], null], "error": [["maybe", "string"], null]},
  UnjoinedView: {"name": ["string"], "cwd": ["string"], "remedy": ["string"], "session": [["maybe", "string"], null], "status": [["maybe", "string"], null]},
  PairedFrame: {"state": [["one", "paired", "waiting", "refused", "expired"]], "key": ["string"], "label": ["string"], "fingerprint": ["string"], "pairing": [["maybe", "string"], null]},
  ChallengedFrame: {"challenge": ["string"]},
  TicketedFrame: {"ticket": ["string"]},
  OpenedFrame: {"id": ["string"], "protocol": ["integer"], "version": ["string"], "epoch": ["string"], "after_seq": ["integer"], "head": ["integer"], "key": ["string"], "label": ["string"], "cleared": ["integer", 0]},
  BatchFrame: {"from_seq": ["integer"], "to_seq": ["integer"], "items": [["list", ["view", "Item"]], []]},
  SentFrame: {"id": ["string"], "message": ["string"], "seq": ["integer"], "thread": [["maybe", "string"], null], "states": [["map", "integer"], {}], "away": [["list", "string"], []], "unresolved": [["list", "string"], []]},
  PageFrame: {"id": ["string"], "items": [["list", ["view", "Item"]], []], "earlier": ["boolean", false], "later": ["boolean", false], "unread": ["integer", 0], "confirm": [["maybe", ["view", "Confirm"]], null], "behind": ["integer", 0]},
  PeerListFrame: {"id": ["string"], "peers": [["list", ["view", "PeerView"]], []]},
  DoneFrame: {"id": ["string"], "seq": [["maybe", "integer"], null], "message": [["maybe", "string"], null], "task": [["maybe", ["view", "TaskView"]], null]},
  ClearedFrame: {"upto": ["integer"]},
  ErrorFrame: {"id": [["maybe", "string"], null], "code": [["one", "bad_frame", "too_large", "unsupported_protocol", "not_joined", "invalid", "not_found", "forbidden", "conflict", "unknown_mention", "rate_limited", "hub_full", "storage_full", "unavailable", "superseded", "internal"]], "message": ["string"], "path": [["maybe", "string"], null], "retry_after_ms": [["maybe", "integer"], null]},
  ByeFrame: {"reason": ["string"], "retry_after_ms": ["integer"], "until_asked": ["boolean", false]},
  PeopleFrame: {"agents": [["list", ["view", "PeerView"]], []], "unjoined": [["list", ["view", "UnjoinedView"]], []]},
  NeedsFrame: {"needs": [["list", ["view", "Need"]], []]},
  PermissionFrame: {"request": [["view", "PermissionView"]]},
  PermissionOverFrame: {"request": ["string"], "how": [["one", "decided", "answered_elsewhere", "expired", "gone"]], "behavior": [["maybe", ["one", "allow", "deny"]], null], "by": [["maybe", "string"], null]},
  DeskFrame: {"rules": [["list", "string"], []], "presets": [["list", ["view", "PresetView"]], []], "keys": [["list", ["view", "KeyView"]], []]},
  PairingFrame: {"pairing": ["string"], "label": ["string"], "fingerprint": ["string"], "over": ["boolean", false]},
  EventFrame: {"event": [["view", "EventView"]]},
  EventPageFrame: {"id": ["string"], "events": [["list", ["view", "EventView"]], []], "earlier": ["boolean", false]},
  LaunchedFrame: {"id": ["string"], "where": ["string"]},
  HubFrame: {"version": ["string"], "home": ["string"], "started_at": ["string"], "head": ["integer"], "open_tasks": ["integer", 0], "storage_full": ["boolean", false], "launches": [["maybe", "string"], null], "projects": [["list", ["view", "ProjectView"]], []], "damage": [["list", ["view", "DamageView"]], []], "notices": [["list", "string"], []], "guarded": [["list", ["view", "GuardView"]], []]},
};

export const FRAMES: Record<string, string> = {"opened": "OpenedFrame", "batch": "BatchFrame", "sent": "SentFrame", "page": "PageFrame", "peer_list": "PeerListFrame", "done": "DoneFrame", "cleared": "ClearedFrame", "error": "ErrorFrame", "bye": "ByeFrame", "people": "PeopleFrame", "needs": "NeedsFrame", "permission": "PermissionFrame", "permission_over": "PermissionOverFrame", "desk": "DeskFrame", "pairing": "PairingFrame", "event": "EventFrame", "event_page": "EventPageFrame", "launched": "LaunchedFrame", "hub": "HubFrame"};
