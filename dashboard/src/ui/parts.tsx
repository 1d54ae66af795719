// The small pieces that all views are made of.

import type { ButtonHTMLAttributes, ComponentChildren, VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { BadgeView, PeerView } from "../protocol";
import { age, clockTime, now, wholeTime } from "../store/clock";
import { announce } from "../store/toasts";
import { visible } from "../text/visible";
import { Icon, type IconName } from "./icons";

type Tone = "plain" | "accent" | "good" | "bad" | "warn" | "info" | "quiet";

interface ButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "icon"> {
  kind?: "plain" | "primary" | "danger" | "ghost" | "link";
  icon?: IconName;
  small?: boolean;
  /** Set while it cannot be pressed: why. It stays reachable, so that everybody can read the reason. */
  blocked?: string | null | undefined;
  disabled?: boolean;
  type?: "button" | "submit";
}

export function Button({
  kind = "plain",
  icon,
  small,
  blocked,
  children,
  class: extra,
  onClick,
  ...rest
}: ButtonProps): VNode {
  const stopped = blocked !== null && blocked !== undefined;
  return (
    <button
      type="button"
      class={`button ${kind} ${small ? "small" : ""} ${String(extra ?? "")}`}
      aria-disabled={stopped || undefined}
      title={stopped ? blocked : undefined}
      onClick={(event) => {
        if (stopped) event.preventDefault();
        else onClick?.call(event.currentTarget, event);
      }}
      {...rest}
    >
      {icon !== undefined && <Icon name={icon} size={16} />}
      {children}
    </button>
  );
}

export function IconButton({
  icon,
  label,
  onClick,
  ...rest
}: { icon: IconName; label: string } & ButtonHTMLAttributes<HTMLButtonElement>): VNode {
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} onClick={onClick} {...rest}>
      <Icon name={icon} />
    </button>
  );
}

export function Chip({
  tone = "plain",
  children,
  title,
  dot,
}: {
  tone?: Tone;
  children: ComponentChildren;
  title?: string | undefined;
  dot?: boolean;
}): VNode {
  return (
    <span class={`chip ${tone}`} title={title}>
      {dot === true && <span class="dot" aria-hidden="true" />}
      {children}
    </span>
  );
}

/** Text of agents and from the outside, in its own direction, with nothing unseen in it. */
export function Foreign({ text, class: name }: { text: string; class?: string }): VNode {
  return <bdi class={name}>{marked(text)}</bdi>;
}

export function marked(text: string): (string | VNode)[] {
  return visible(text).map((part) =>
    part.mark === undefined ? (
      part.text
    ) : (
      <span class="unseen" title={part.mark}>
        {part.text}
      </span>
    ),
  );
}

/** How long ago, with the whole time as a hint. */
export function Ago({ iso, suffix = "" }: { iso: string; suffix?: string }): VNode {
  return (
    <time dateTime={iso} title={wholeTime(iso)}>
      {age(now.value - Date.parse(iso)) + suffix}
    </time>
  );
}

export function At({ iso, class: name }: { iso: string; class?: string }): VNode {
  return (
    <time class={name} dateTime={iso} title={wholeTime(iso)}>
      {clockTime(iso)}
    </time>
  );
}

const HUES = 8;

/** One of a few hues for each name, always the same, so that the eye finds an agent again. */
export function hueOf(name: string): number {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return hash % HUES;
}

export function initialsOf(name: string): string {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const letters = words.length > 1 ? words.slice(0, 2).map((word) => [...word][0]) : [...(words[0] ?? "?")].slice(0, 2);
  return letters.join("").toUpperCase();
}

export function Avatar({ name, source = "agent", small }: { name: string; source?: string; small?: boolean }): VNode {
  const look = source === "agent" ? `hue-${hueOf(name)}` : source;
  return (
    <span class={`avatar ${look} ${small ? "small" : ""}`} aria-hidden="true">
      {source === "user" ? (
        "You"
      ) : source === "cli" ? (
        ">_"
      ) : source === "system" ? (
        <Icon name="settings" size={14} />
      ) : small ? (
        initialsOf(name).slice(0, 1)
      ) : (
        initialsOf(name)
      )}
    </span>
  );
}

export type Presence = "waiting" | "working" | "idle" | "away" | "paused";
export const PRESENCES: Record<Presence, { label: string; tone: Tone }> = {
  waiting: { label: "waits for you", tone: "warn" },
  working: { label: "working", tone: "info" },
  idle: { label: "idle", tone: "good" },
  away: { label: "away", tone: "quiet" },
  paused: { label: "paused", tone: "quiet" },
};

export function presenceOf(agent: PeerView, waits: boolean): Presence {
  if (!agent.connected) return "away";
  if (waits || agent.activity === "waiting") return "waiting";
  if (agent.activity === "working" || (agent.activity === null && agent.status === "busy")) return "working";
  return "idle";
}

const TASK_TONES: Record<string, [Tone, string]> = {
  open: ["accent", "open task"],
  claimed: ["info", "claimed"],
  in_progress: ["info", "in progress"],
  completed: ["good", "completed"],
  failed: ["bad", "failed"],
};

/** A badge as a chip whose colour says what it means. */
export function BadgeChip({ badge }: { badge: BadgeView }): VNode | null {
  const { type, value, label } = badge;
  if (type === "task") {
    const [tone, text] = TASK_TONES[value] ?? ["plain", value];
    return (
      <Chip tone={tone} title={`task: ${text}`}>
        <Icon name={value === "completed" ? "check" : "flag"} size={13} />
        {text}
      </Chip>
    );
  }
  if (type === "importance") {
    if (value === "normal") return null;
    return value === "high" ? (
      <Chip tone="warn">important</Chip>
    ) : (
      <Chip tone="quiet">{value === "low" ? "chitchat" : <Foreign text={value} />}</Chip>
    );
  }
  if (type === "question") {
    return value === "answered" ? <Chip tone="good">answered</Chip> : <Chip tone="warn">question to you</Chip>;
  }
  if (type === "git-commit") return <Commit hash={value} label={label} />;
  if (type === "project") {
    return (
      <Chip title="project">
        <Icon name="folder" size={13} />
        <Foreign text={label ?? value} />
      </Chip>
    );
  }
  return (
    <Chip title={`${type}: ${value}`}>
      <Foreign text={label ?? `${type}: ${value}`} />
    </Chip>
  );
}

function Commit({ hash, label }: { hash: string; label: string | null }): VNode {
  const [copied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    if (!(await copyText(hash))) return;
    setCopied(true);
    announce("Commit copied");
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <button
      type="button"
      class="chip commit"
      title={`commit ${hash}${label ? `, ${label}` : ""}: copy`}
      onClick={() => void copy()}
    >
      <Icon name={copied ? "check" : "copy"} size={12} />
      <code>
        <Foreign text={hash.slice(0, 8)} />
      </code>
    </button>
  );
}

/** Whether it worked: a page without the focus may not. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export function Empty({
  icon,
  title,
  children,
}: {
  icon: IconName;
  title: string;
  children?: ComponentChildren;
}): VNode {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} size={26} />
      </span>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** A command to type, with a button that copies it. */
export function Command({ text }: { text: string }): VNode {
  const [copied, setCopied] = useState(false);
  const shown = (): void => {
    setCopied(true);
    announce("Copied");
  };
  return (
    <span class="command">
      <code>{text}</code>
      <button
        type="button"
        class="icon-button"
        aria-label={`copy ${text}`}
        onClick={() => void copyText(text).then((done) => done && shown())}
      >
        <Icon name={copied ? "check" : "copy"} size={15} />
      </button>
    </span>
  );
}

/** A dialog above everything: the focus stays inside until it closes, and then goes back. */
export function Dialog({
  label,
  onClose,
  children,
  wide,
}: {
  label: string;
  onClose: () => void;
  children: ComponentChildren;
  wide?: boolean;
}): VNode {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? "wide" : ""}
      aria-label={label}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === element.current) onClose();
      }}
    >
      <header class="dialog-head">
        <h2>{label}</h2>
        <IconButton icon="close" label="Close" onClick={onClose} />
      </header>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}

export function Field({
  label,
  hint,
  children,
}: {
  label: string;
  hint?: ComponentChildren;
  children: ComponentChildren;
}): VNode {
  return (
    <label class="field">
      <span class="field-label">{label}</span>
      {children}
      {hint !== undefined && <span class="hint">{hint}</span>}
    </label>
  );
}
