// What happened: who came and went, starts of the hub, pairings, decisions.

import type { VNode } from "preact";
import type { EventView } from "../protocol";
import { dayKey, dayName } from "../store/clock";
import { attempt } from "../store/toasts";
import { useApp } from "../ui/context";
import { Icon, type IconName } from "../ui/icons";
import { At, Button, Empty, Foreign } from "../ui/parts";
import { Divider } from "./chat";

const LOOKS: Record<EventView["kind"], [IconName, string]> = {
  joined: ["agents", "good"],
  left: ["agents", "quiet"],
  hub_started: ["play", "info"],
  hub_stopping: ["pause", "quiet"],
  paired: ["link", "accent"],
  pairing_refused: ["close", "bad"],
  revoked: ["close", "warn"],
  decided: ["check", "accent"],
  answered_elsewhere: ["instances", "quiet"],
  alarm: ["warn", "bad"],
  cleared: ["trash", "quiet"],
  restored: ["reply", "quiet"],
  launched: ["instances", "good"],
  paused: ["pause", "quiet"],
  resumed: ["play", "quiet"],
};

export function ActivityView(): VNode {
  const app = useApp();
  const events = [...app.events.value].reverse();
  return (
    <section class="page" aria-label="Activity">
      <header class="bar">
        <h1>Activity</h1>
      </header>
      <div class="scroll" tabIndex={0} role="region" aria-label="What happened">
        {events.length === 0 && (
          <Empty icon="activity" title="Nothing has happened yet">
            <p>
              Agents that come and go, restarts of the hub, pairings and every decision about a permission are listed
              here.
            </p>
          </Empty>
        )}
        <ol class="events">
          {events.map((event, index) => {
            const before = events[index - 1];
            const [icon, tone] = LOOKS[event.kind];
            return (
              <>
                {(before === undefined || dayKey(before.ts) !== dayKey(event.ts)) && (
                  <li class="day">
                    <Divider text={dayName(event.ts)} />
                  </li>
                )}
                <li key={event.seq} class={`event ${tone}`} data-event={event.kind}>
                  <At iso={event.ts} />
                  <Icon name={icon} size={16} />
                  <Foreign text={event.text} />
                </li>
              </>
            );
          })}
        </ol>
        {app.eventsEarlier.value && (
          <Button kind="ghost" onClick={() => void attempt(() => app.loadEvents())}>
            Earlier
          </Button>
        )}
      </div>
    </section>
  );
}
