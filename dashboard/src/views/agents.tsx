// The agents: who is there, what each does, what it holds, and how far behind it is.

import type { VNode } from "preact";
import type { PeerView } from "../protocol";
import { go, hrefOf } from "../store/route";
import { attempt } from "../store/toasts";
import { useApp } from "../ui/context";
import { Icon } from "../ui/icons";
import { Ago, Avatar, Button, Chip, Empty, Foreign, PRESENCES, presenceOf } from "../ui/parts";
import { focusComposer } from "./composer";

export function AgentsView(): VNode {
  const app = useApp();
  const waiting = new Set([
    ...app.desk.pending.value.map((one) => one.view.agent),
    ...app.needs.list.value.filter((need) => need.kind === "question").map((need) => need.agent),
  ]);
  const rank = (agent: PeerView): number =>
    ["waiting", "working", "idle", "away"].indexOf(presenceOf(agent, waiting.has(agent.id)));
  const agents = [...app.people.value].sort(
    (one, other) => rank(one) - rank(other) || one.name.localeCompare(other.name),
  );
  const unjoined = app.unjoined.value;
  return (
    <section class="page" aria-label="Agents">
      <header class="bar">
        <h1>Agents</h1>
        <p class="hint">{agents.filter((agent) => agent.connected).length} connected</p>
      </header>
      <div class="scroll" tabIndex={0} role="region" aria-label="All agents">
        {agents.length === 0 && (
          <Empty icon="agents" title="No agent is here">
            <p>
              Every session of Claude Code on this machine joins by itself once the plugin is installed (
              <code>crosschat install</code>). Open one, or start one under <a href={hrefOf("instances")}>Instances</a>.
            </p>
          </Empty>
        )}
        <ul class="agents">
          {agents.map((agent) => (
            <AgentRow key={agent.id} agent={agent} waits={waiting.has(agent.id)} />
          ))}
        </ul>
        {unjoined.length > 0 && (
          <>
            <h2 class="section">Sessions that are not connected</h2>
            <ul class="agents">
              {unjoined.map((one) => (
                <li class="agent unjoined">
                  <Avatar name={one.name} />
                  <div class="agent-main">
                    <p class="agent-name">
                      <Foreign text={one.name} />
                    </p>
                    <p class="meta">
                      <Foreign text={one.cwd} class="path" />
                    </p>
                    <p>
                      <Foreign text={one.remedy} />
                    </p>
                  </div>
                </li>
              ))}
            </ul>
          </>
        )}
      </div>
    </section>
  );
}

function AgentRow({ agent, waits }: { agent: PeerView; waits: boolean }): VNode {
  const app = useApp();
  const presence = presenceOf(agent, waits);
  const { label, tone } = PRESENCES[presence];
  const mention = (): void => {
    focusComposer.value = { thread: "", text: `@${agent.name}` };
    go(hrefOf("chat"));
  };
  const pause = (): Promise<boolean> =>
    attempt(
      () => app.change({ type: "pause", agent: agent.id, paused: !agent.paused }),
      agent.paused ? `${agent.name} is woken again` : `${agent.name} is not woken any more`,
    );
  return (
    <li class={`agent ${presence}`} data-agent={agent.id}>
      <Avatar name={agent.name} />
      <div class="agent-main">
        <p class="agent-name">
          <Foreign text={agent.name} />
          <Chip tone={tone} dot>
            {label}
          </Chip>
          {agent.paused && <Chip tone="quiet">paused</Chip>}
          {agent.mode !== null && agent.mode !== "default" && <Chip title="its permission mode">{agent.mode}</Chip>}
        </p>
        {agent.detail !== null && (
          <p class="agent-detail">
            <Foreign text={agent.detail} />
          </p>
        )}
        <p class="meta">
          <Foreign text={agent.cwd} class="path" />
          {agent.project !== null && (
            <Chip title="git project">
              <Foreign text={agent.project} />
            </Chip>
          )}
          {agent.since !== null && (
            <span>
              {agent.connected ? "here" : "away"} for <Ago iso={agent.since} />
            </span>
          )}
        </p>
        <p class="meta">
          {agent.unread > 0 ? (
            <span class={agent.unread > 20 ? "late" : ""}>
              {agent.unread} unread
              {agent.unread_since !== null && (
                <>
                  , the oldest <Ago iso={agent.unread_since} suffix=" old" />
                </>
              )}
            </span>
          ) : (
            <span>has read everything</span>
          )}
          {agent.connected && agent.way === "none" && (
            <span title="What is unread waits until it asks for it.">messages do not wake it</span>
          )}
          {agent.claims.map((claim) => (
            <a href={hrefOf("chat", claim, { thread: claim })}>
              {claim === agent.task ? "works on" : "holds"} {taskTitle(app, claim)}
            </a>
          ))}
        </p>
      </div>
      <div class="agent-actions">
        <Button small icon="at" onClick={mention}>
          Mention
        </Button>
        <Button
          small
          icon={agent.paused ? "play" : "pause"}
          onClick={() => void pause()}
          title={agent.paused ? "Let messages wake it again" : "Let no message wake it; it still gets everything"}
        >
          {agent.paused ? "Resume" : "Pause"}
        </Button>
        <a
          class="button small"
          href={hrefOf("chat", null, { with: agent.id })}
          title="What it wrote, and what was addressed to it"
        >
          <Icon name="chat" size={16} />
          Traffic
        </a>
      </div>
    </li>
  );
}

function taskTitle(app: ReturnType<typeof useApp>, message: string): string {
  const text =
    app.tasks.byId.value
      .get(message)
      ?.item.content.split("\n")[0]
      ?.replace(/[`*#>]/g, "") ?? "a task";
  return text.length > 48 ? `${text.slice(0, 48)}…` : text;
}
