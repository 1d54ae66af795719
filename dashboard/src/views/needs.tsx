// What needs the person, the most urgent first: requests that hold up a session, questions, and what got stuck.

import type { ComponentChild, VNode } from "preact";
import { PermissionCard } from "../permission/card";
import { PairingCard } from "../permission/pairing";
import { allowOnce, deny } from "../permission/request";
import type { GuardView, Need } from "../protocol";
import { hrefOf } from "../store/route";
import { attempt, toast } from "../store/toasts";
import { useApp } from "../ui/context";
import { Ago, Button, Empty, Foreign } from "../ui/parts";
import { Composer } from "./composer";
import { MessageRow } from "./message";
import { Seldom } from "./presets";

export function NeedsView(): VNode {
  const app = useApp();
  const { pending, pairings, ticked } = app.desk;
  const needs = app.needs.list.value;
  const questions = needs.filter((need) => need.kind === "question");
  const tasks = needs.filter((need) => need.kind === "stuck" || need.kind === "reopened");
  const unread = needs.filter((need) => need.kind === "unread");
  const guarded = app.hub.value?.guarded ?? [];
  const nothing = app.desk.count.value + needs.length + guarded.length === 0;
  return (
    <section class="page needs" aria-label="Needs you">
      <header class="bar">
        <h1>Needs you</h1>
        {!nothing && <p class="hint">{app.desk.count.value + needs.length} waiting</p>}
      </header>
      <div class="scroll" tabIndex={0} role="region" aria-label="Everything that needs you">
        {nothing && <Calm />}
        {pairings.value.map((frame) => (
          <PairingCard key={frame.pairing} frame={frame} />
        ))}
        {pending.value.length > 0 && (
          <Group title="Permission requests" count={pending.value.length}>
            {pending.value.map((one) => (
              <PermissionCard key={one.view.id} pending={one} tickable={pending.value.length > 1} />
            ))}
          </Group>
        )}
        {ticked.value.size > 0 && <Together />}
        {questions.length > 0 && (
          <Group title="Questions to you" count={questions.length}>
            {questions.map((need) => (
              <Question key={need.message} need={need} />
            ))}
          </Group>
        )}
        {tasks.length > 0 && (
          <Group title="Tasks that need a push" count={tasks.length}>
            {tasks.map((need) => (
              <StuckTask key={`${need.kind} ${need.message}`} need={need} />
            ))}
          </Group>
        )}
        {guarded.length > 0 && (
          <Group title="Only agents answer each other here" count={guarded.length}>
            {guarded.map((one) => (
              <Guarded key={one.message} guard={one} />
            ))}
          </Group>
        )}
        {unread.length > 0 && (
          <Group title="Nobody has read these" count={unread.length}>
            {unread.map((need) => (
              <Unread key={need.message} need={need} />
            ))}
          </Group>
        )}
      </div>
    </section>
  );
}

function Group({ title, count, children }: { title: string; count: number; children: ComponentChild }): VNode {
  return (
    <section class="group" aria-label={title}>
      <h2 class="section">
        {title} <span class="count">{count}</span>
      </h2>
      {children}
    </section>
  );
}

function Calm(): VNode {
  const app = useApp();
  const connected = app.people.value.filter((agent) => agent.connected).length;
  return (
    <Empty icon="check" title="Nothing needs you">
      <p>
        {connected === 0
          ? "No agent is connected. Open a session of Claude Code, or start one under "
          : `${connected} agent${connected === 1 ? " is" : "s are"} connected. When one asks for permission, has a question, or gets stuck, it appears here first. Meanwhile you can follow the `}
        {connected === 0 ? <a href={hrefOf("instances")}>Instances</a> : <a href={hrefOf("chat")}>chat</a>}.
      </p>
      <Seldom />
    </Empty>
  );
}

/** Several requests that were read and ticked one by one are answered together. */
function Together(): VNode {
  const app = useApp();
  const all = async (allow: boolean): Promise<void> => {
    const chosen = [...app.desk.ticked.value];
    let done = 0;
    for (const request of chosen) {
      const worked = await attempt(() => app.desk.decide(request, allow ? allowOnce() : deny("", false)));
      if (worked) done += 1;
    }
    toast(`${allow ? "Allowed" : "Denied"} ${done} of ${chosen.length}`, done === chosen.length ? "good" : "bad");
  };
  const count = app.desk.ticked.value.size;
  return (
    <div class="together" role="group" aria-label="Decide the ticked requests">
      <strong>{count} ticked</strong>
      <Button
        kind="primary"
        onClick={() => void all(true)}
        onKeyDown={(event) => event.repeat && event.preventDefault()}
      >
        Allow {count} once
      </Button>
      <Button kind="danger" onClick={() => void all(false)}>
        Deny {count}
      </Button>
    </div>
  );
}

function Question({ need }: { need: Need }): VNode {
  const app = useApp();
  const item = app.needs.messages.value.get(need.message);
  return (
    <article class="need" aria-label={`Question of ${need.name}`} data-need={need.message}>
      {item === undefined ? <p class="hint">Reading…</p> : <MessageRow item={item} quiet />}
      <div class="need-answer">
        <Composer thread={item?.thread ?? need.message} />
        <a class="button ghost small" href={hrefOf("chat", need.message, { thread: item?.thread ?? need.message })}>
          Open the thread
        </a>
      </div>
    </article>
  );
}

function StuckTask({ need }: { need: Need }): VNode {
  const app = useApp();
  const item = app.needs.messages.value.get(need.message);
  const stuck = need.kind === "stuck";
  return (
    <article
      class="need"
      aria-label={stuck ? "A task that is stuck" : "A task that is open again"}
      data-need={need.message}
    >
      <p class="meta">
        {stuck ? (
          <span>
            <Foreign text={need.name} class="strong" /> holds it and gave no sign for <Ago iso={need.since} />
          </span>
        ) : (
          <span>
            open again since <Ago iso={need.since} />: nobody holds it
          </span>
        )}
      </p>
      {item === undefined ? <p class="hint">Reading…</p> : <MessageRow item={item} quiet />}
      <div class="card-actions">
        {stuck && (
          <Button
            small
            onClick={() => void attempt(() => app.change({ type: "release", message: need.message }), "Released")}
          >
            Release it
          </Button>
        )}
        <a class="button small" href={hrefOf("chat", need.message, { thread: need.message })}>
          Open the thread
        </a>
        <a class="button ghost small" href={hrefOf("tasks")}>
          All tasks
        </a>
      </div>
    </article>
  );
}

/** The loop guard holds a thread back from waking anybody until the person writes in it. */
function Guarded({ guard }: { guard: GuardView }): VNode {
  return (
    <article class="need" aria-label={`A thread of ${guard.author} that wakes nobody`} data-guard={guard.message}>
      <p>
        A thread of <Foreign text={guard.author} class="strong" /> has {guard.replies} replies without a word of yours
        or a step of its task. It wakes nobody any more; everything in it is still delivered.
      </p>
      <div class="card-actions">
        <a class="button small" href={hrefOf("chat", guard.message, { thread: guard.message })}>
          Read it, and answer to let it go on
        </a>
      </div>
    </article>
  );
}

function Unread({ need }: { need: Need }): VNode {
  const app = useApp();
  const item = app.needs.messages.value.get(need.message);
  return (
    <article class="need" aria-label={`Unread message of ${need.name}`} data-need={need.message}>
      <p class="meta">
        unread for <Ago iso={need.since} />
      </p>
      {item === undefined ? <p class="hint">Reading…</p> : <MessageRow item={item} quiet />}
      <div class="card-actions">
        <a class="button small" href={hrefOf("chat", need.message)}>
          Show it in the chat
        </a>
        <a class="button ghost small" href={hrefOf("agents")}>
          Who is there
        </a>
      </div>
    </article>
  );
}
