// The frame around all views: the ways to them, who is there, how the connection is, and what is above everything.

import type { ComponentChild, VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Tray } from "../permission/tray";
import { now } from "../store/clock";
import { theme } from "../store/memory";
import { go, hrefOf, route, type View } from "../store/route";
import { announced, dismiss, toasts } from "../store/toasts";
import { useApp } from "../ui/context";
import { Icon, type IconName, Mark } from "../ui/icons";
import { onKeys } from "../ui/keyboard";
import { showCount } from "../ui/notify";
import { Avatar, Button, Dialog, Foreign, IconButton, presenceOf } from "../ui/parts";
import { ActivityView } from "./activity";
import { AgentsView } from "./agents";
import { Chat } from "./chat";
import { HelpSheet } from "./help";
import { InstancesView } from "./instances";
import { NeedsView } from "./needs";
import { SearchView } from "./search";
import { SettingsView } from "./settings";
import { TasksView } from "./tasks";

interface Way {
  view: View;
  label: string;
  icon: IconName;
}

const WAYS: readonly Way[] = [
  { view: "needs", label: "Needs you", icon: "needs" },
  { view: "chat", label: "Chat", icon: "chat" },
  { view: "tasks", label: "Tasks", icon: "tasks" },
  { view: "agents", label: "Agents", icon: "agents" },
  { view: "instances", label: "Instances", icon: "instances" },
  { view: "search", label: "Search", icon: "search" },
  { view: "activity", label: "Activity", icon: "activity" },
  { view: "settings", label: "Settings", icon: "settings" },
];
const ON_PHONES = 4; // the others are behind "More"
const RETRY_SHOWN_MS = 1_500; // a reconnect that is quicker than this is not worth a word

export function Shell(): VNode {
  const app = useApp();
  const [help, setHelp] = useState(false);
  const [more, setMore] = useState(false);
  const { view } = route.value;
  const way = WAYS.find((one) => one.view === view);
  const waiting = app.desk.count.value + app.needs.count.value;
  useEffect(() => showCount(waiting, way?.label ?? "CrossChat"), [waiting, view]);
  useEffect(() => setMore(false), [route.value]);
  const keys = Object.fromEntries(WAYS.map((one, index) => [String(index + 1), () => go(hrefOf(one.view))]));
  onKeys({
    ...keys,
    "?": () => setHelp(!help),
    "/": () => go(hrefOf("search")),
    p: () => (document.querySelector<HTMLElement>("[data-request] button") ?? document.getElementById("tray"))?.focus(),
    Escape: () =>
      route.value.query.has("thread") &&
      go(hrefOf(view, null, { ...Object.fromEntries(route.value.query), thread: undefined })),
  });
  return (
    <div class={`shell in-${view}`}>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        Skip to the content
      </a>
      <nav class="side" aria-label="Views">
        <p class="brand">
          <Mark /> <span>CrossChat</span>
        </p>
        <ul>
          {WAYS.map((one, index) => (
            <li>
              <NavLink way={one} number={index + 1} />
            </li>
          ))}
        </ul>
        <Who />
        <div class="side-foot">
          <Status />
          <IconButton icon="help" label="Keys and help" onClick={() => setHelp(true)} />
          <IconButton
            icon={theme.value === "dark" ? "moon" : theme.value === "light" ? "sun" : "screen"}
            label={`Theme: ${theme.value}`}
            onClick={nextTheme}
          />
        </div>
      </nav>
      <div class="center">
        <Banners />
        <main id="main" tabIndex={-1} class={`view-${view}`}>
          <Current />
        </main>
      </div>
      <nav class="tabs" aria-label="Main views">
        {WAYS.slice(0, ON_PHONES).map((one) => (
          <NavLink way={one} />
        ))}
        <button
          type="button"
          aria-expanded={more}
          class={way !== undefined && WAYS.indexOf(way) >= ON_PHONES ? "current" : ""}
          onClick={() => setMore(!more)}
        >
          <Icon name="more" />
          <span>More</span>
        </button>
      </nav>
      {more && (
        <Dialog label="More" onClose={() => setMore(false)}>
          <ul class="more-list">
            {WAYS.slice(ON_PHONES).map((one) => (
              <li>
                <NavLink way={one} />
              </li>
            ))}
          </ul>
          <Button kind="ghost" icon={theme.value === "dark" ? "moon" : "sun"} onClick={nextTheme}>
            Theme: {theme.value}
          </Button>
        </Dialog>
      )}
      {view !== "needs" && <Tray />}
      <Toasts />
      <p class="sr-only" aria-live="polite" role="status">
        {announced.value.text}
      </p>
      {help && <HelpSheet onClose={() => setHelp(false)} />}
    </div>
  );
}

function nextTheme(): void {
  theme.value = theme.value === "system" ? "light" : theme.value === "light" ? "dark" : "system";
}

function Current(): ComponentChild {
  const { view } = route.value;
  switch (view) {
    case "needs":
      return <NeedsView />;
    case "chat":
      return <Chat route={route.value} />;
    case "agents":
      return <AgentsView />;
    case "tasks":
      return <TasksView route={route.value} />;
    case "instances":
      return <InstancesView />;
    case "search":
      return <SearchView route={route.value} />;
    case "activity":
      return <ActivityView />;
    case "settings":
      return <SettingsView />;
  }
}

function NavLink({ way, number }: { way: Way; number?: number }): VNode {
  const app = useApp();
  const current = route.value.view === way.view;
  const count = countOf(app, way.view);
  return (
    <a
      class={`nav ${current ? "current" : ""}`}
      href={hrefOf(way.view)}
      aria-current={current ? "page" : undefined}
      title={number === undefined ? way.label : `${way.label} (${number})`}
    >
      <Icon name={way.icon} />
      <span>{way.label}</span>
      {count > 0 && (
        <span class={`badge ${way.view === "needs" ? "urgent" : ""}`}>
          {count > 99 ? "99+" : count}
          <span class="sr-only">{way.view === "needs" ? " waiting" : way.view === "chat" ? " new" : " open"}</span>
        </span>
      )}
    </a>
  );
}

function countOf(app: ReturnType<typeof useApp>, view: View): number {
  if (view === "needs") return app.desk.count.value + app.needs.count.value;
  if (view === "chat")
    return app.channel.items.value.filter((item) => item.seq > app.readUpto.value && item.source !== "user").length;
  if (view === "tasks") return app.tasks.columns.value.get("open")?.length ?? 0;
  return 0;
}

/** Who is there, at a glance. */
function Who(): VNode | null {
  const app = useApp();
  const agents = app.people.value.filter((agent) => agent.connected);
  if (agents.length === 0) return null;
  const asking = new Set(app.desk.pending.value.map((one) => one.view.agent));
  return (
    <section class="who" aria-label="Connected agents">
      <h2>Here now</h2>
      <ul>
        {agents.slice(0, 12).map((agent) => {
          const presence = presenceOf(agent, asking.has(agent.id));
          return (
            <li>
              <a href={hrefOf("chat", null, { with: agent.id })} title={`${agent.detail ?? agent.cwd}`}>
                <span class={`presence ${presence}`}>
                  <Avatar name={agent.name} small />
                </span>
                <Foreign text={agent.name} class="clip" />
                <span class="sr-only">{presence}</span>
              </a>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function Status(): VNode {
  const app = useApp();
  const { value } = app.link.state;
  const text = value === "open" ? "Connected" : value === "waiting" ? "Reconnecting" : "Connecting";
  return (
    <span class={`status ${value}`}>
      <span class="dot" aria-hidden="true" />
      {text}
    </span>
  );
}

/** What everybody must see: no connection, a new version, a full disk, what the hub has to say. */
function Banners(): VNode {
  const app = useApp();
  const hub = app.hub.value;
  return (
    <div class="banners">
      <Reconnecting />
      {app.outdated.value !== null && (
        <Banner tone="info" text={`The hub was updated to ${app.outdated.value}. This page is older.`}>
          <Button small onClick={() => location.reload()}>
            Reload
          </Button>
        </Banner>
      )}
      {hub?.storage_full === true && (
        <Banner
          tone="bad"
          text="The disk is full: nothing can be sent or allowed until there is room. Reading and denying go on."
        />
      )}
      {hub?.damage.length ? (
        <Banner
          tone="bad"
          text={`The log is damaged in ${hub.damage.length} place${hub.damage.length === 1 ? "" : "s"}. What is whole is shown; see Settings.`}
        />
      ) : null}
      {hub?.notices.map((notice) => (
        <Banner tone="info" text={notice} />
      ))}
    </div>
  );
}

function Banner({
  tone,
  text,
  children,
}: {
  tone: "info" | "bad" | "warn";
  text: string;
  children?: ComponentChild;
}): VNode {
  return (
    <div class={`banner ${tone}`} role="status">
      <Foreign text={text} />
      {children}
    </div>
  );
}

function Reconnecting(): VNode | null {
  const app = useApp();
  const { state, retryAt } = app.link;
  const [late, setLate] = useState(false);
  const away = state.value !== "open";
  useEffect(() => {
    if (!away) {
      setLate(false);
      return;
    }
    const timer = setTimeout(() => setLate(true), RETRY_SHOWN_MS);
    return () => clearTimeout(timer);
  }, [away]);
  if (!late) return null;
  const asked = app.bye.value?.until_asked === true;
  const left = Math.max(0, Math.ceil((retryAt.value - now.value) / 1000));
  return (
    <Banner
      tone="warn"
      text={
        asked
          ? "The hub was stopped. It starts with the next session, or with: crosschat start"
          : `No connection to the hub. Trying again${state.value === "waiting" && left > 1 ? ` in ${left} s` : ""}; nothing is lost, it goes on where it was.`
      }
    >
      <Button small onClick={() => app.link.start()}>
        Try now
      </Button>
    </Banner>
  );
}

function Toasts(): VNode | null {
  if (toasts.value.length === 0) return null;
  return (
    <section class="toasts" aria-label="Notes">
      <ul>
        {toasts.value.map((one) => (
          <li key={one.id} class={`toast ${one.tone}`}>
            <Foreign text={one.text} />
            {one.action !== undefined && (
              <Button
                small
                onClick={() => {
                  one.action?.run();
                  dismiss(one.id);
                }}
              >
                {one.action.label}
              </Button>
            )}
            <IconButton icon="close" label="Dismiss" onClick={() => dismiss(one.id)} />
          </li>
        ))}
      </ul>
    </section>
  );
}
