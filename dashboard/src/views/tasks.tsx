// The tasks, in columns by how far they are; what the person can do with one lies on its card.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { TaskView } from "../protocol";
import { go, hrefOf, type Route } from "../store/route";
import { COLUMNS, type Task, type TaskStatus } from "../store/tasks";
import { attempt } from "../store/toasts";
import { Markdown } from "../text/markdown";
import { useApp } from "../ui/context";
import { Ago, Avatar, BadgeChip, Button, Chip, Dialog, Empty, Field, Foreign } from "../ui/parts";
import { beginning, isLong } from "./message";

const TITLES: Record<TaskStatus, string> = {
  open: "Open",
  claimed: "Claimed",
  in_progress: "In progress",
  completed: "Completed",
  failed: "Failed",
};
const HINTS: Record<TaskStatus, string> = {
  open: "Flag a message in the chat as a task, and it waits here for an agent to claim it.",
  claimed: "Tasks an agent took and has not begun.",
  in_progress: "Tasks an agent works on.",
  completed: "Finished tasks, with their results.",
  failed: "Tasks that could not be done, and why.",
};

export function TasksView({ route }: { route: Route }): VNode {
  const app = useApp();
  const wanted = (route.query.get("for") ?? "").toLowerCase();
  const fits = (one: Task): boolean =>
    wanted === "" ||
    [one.task.claimant, one.task.owner, one.item.content, one.task.filter?.project].some((text) =>
      text?.toLowerCase().includes(wanted),
    );
  const { columns, loaded, earlier } = app.tasks;
  const all = [...columns.value.values()].flat();
  return (
    <section class="page tasks" aria-label="Tasks">
      <header class="bar">
        <h1>Tasks</h1>
        <div class="filters">
          <input
            type="search"
            placeholder="Agent, project or text"
            aria-label="Filter tasks"
            value={wanted}
            onInput={(event) => go(hrefOf("tasks", null, { for: event.currentTarget.value }), { replace: true })}
          />
        </div>
      </header>
      {loaded.value && all.length === 0 ? (
        <Empty icon="tasks" title="There is no task yet">
          <p>
            A task is a message that exactly one agent takes on and finishes. Write what is to be done in the{" "}
            <a href={hrefOf("chat")}>chat</a> and press the flag on it (<kbd>t</kbd>). Agents can do the same.
          </p>
        </Empty>
      ) : (
        <div class="board">
          {COLUMNS.map((status) => {
            const shown = (columns.value.get(status) ?? []).filter(fits);
            return (
              <section class={`column ${status}`} aria-label={TITLES[status]}>
                <h2>
                  <span class="dot" aria-hidden="true" />
                  {TITLES[status]} <span class="count">{shown.length}</span>
                </h2>
                <div class="cards" tabIndex={0} role="region" aria-label={`${TITLES[status]} tasks`}>
                  {shown.length === 0 && <p class="hint">{loaded.value ? HINTS[status] : "Reading…"}</p>}
                  {shown.map((task) => (
                    <TaskCard key={task.item.message} task={task} />
                  ))}
                  {earlier.value.has(status) && (
                    <Button kind="ghost" small onClick={() => void attempt(() => app.tasks.loadMore(status))}>
                      Earlier ones
                    </Button>
                  )}
                </div>
              </section>
            );
          })}
        </div>
      )}
    </section>
  );
}

const RELEASED: Record<string, string> = {
  lease_expired: "its claimant was gone too long",
  reopened: "reopened",
  reassigned: "reassigned",
  released: "released",
};

export function TaskCard({
  task: { item, task, released },
  inThread = false,
}: {
  task: Task;
  inThread?: boolean;
}): VNode {
  const app = useApp();
  const [reassigning, setReassigning] = useState(false);
  const held = task.status === "claimed" || task.status === "in_progress";
  const finished = task.status === "completed" || task.status === "failed";
  const release = (reopen: boolean): Promise<boolean> =>
    attempt(
      () => app.change({ type: "release", message: item.message, reopen }),
      reopen ? "It is open again" : "Released",
    );
  const claimant = task.claimant_id === null ? undefined : app.peopleById.value.get(task.claimant_id);
  const since = task.finished_at ?? task.claimed_at ?? task.flagged_at ?? item.ts;
  return (
    <article
      class={`task-card ${task.status}`}
      aria-label={`Task: ${item.content.slice(0, 80)}`}
      data-task={item.message}
    >
      {!inThread && (
        <div class="md task-text" dir="auto">
          <Markdown
            text={isLong(item.content) ? beginning(item.content) : item.content}
            isName={(name) => app.agentNames.value.includes(name)}
          />
        </div>
      )}
      <p class="meta">
        {task.claimant !== null ? (
          <>
            <Avatar name={task.claimant} small />
            <Foreign text={task.claimant} class="strong" />
            {claimant !== undefined && !claimant.connected && held && <Chip tone="warn">away</Chip>}
          </>
        ) : (
          <span>
            from <Foreign text={task.owner === "user" ? "you" : task.owner} />
          </span>
        )}
        <span class="grow" />
        {inThread && <BadgeChip badge={{ type: "task", value: task.status, label: null }} />}
        <Ago iso={since} />
      </p>
      {(task.filter !== null || released !== null || task.claims > 1) && (
        <p class="meta">
          {task.filter?.agent && <Chip title="only this agent may claim it">for {task.filter.agent}</Chip>}
          {task.filter?.project && <Chip title="only agents in this git project">in {task.filter.project}</Chip>}
          {task.filter?.working_dir && <Chip title="only agents working there">in {task.filter.working_dir}</Chip>}
          {task.status === "open" && released !== null && (
            <Chip tone="warn">{RELEASED[released.reason] ?? <Foreign text={released.reason} />}</Chip>
          )}
          {task.claims > 1 && <span>claimed {task.claims} times</span>}
        </p>
      )}
      {finished && <Result task={task} message={item.message} shown={inThread} />}
      <div class="card-actions">
        {!inThread && (
          <a class="button ghost small" href={hrefOf("chat", item.message, { thread: item.thread ?? item.message })}>
            Thread{item.replies > 0 ? ` (${item.replies})` : ""}
          </a>
        )}
        {held && (
          <Button kind="ghost" small onClick={() => void release(false)}>
            Release
          </Button>
        )}
        {!finished && (
          <Button kind="ghost" small onClick={() => setReassigning(true)}>
            {held ? "Reassign" : "Assign"}
          </Button>
        )}
        {finished && (
          <Button kind="ghost" small onClick={() => void release(true)}>
            Reopen
          </Button>
        )}
      </div>
      {reassigning && (
        <Reassign message={item.message} current={task.claimant_id} onClose={() => setReassigning(false)} />
      )}
    </article>
  );
}

/** The result is read when it is asked for: a board full of them would be long. */
function Result({ task, message, shown }: { task: TaskView; message: string; shown: boolean }): VNode {
  const app = useApp();
  const [open, setOpen] = useState(shown);
  const { result, error } = task;
  const what = task.status === "failed" ? "why it failed" : "the result";
  const isName = (name: string): boolean => app.agentNames.value.includes(name);
  const show = (): void => {
    setOpen(!open);
    if (result === null && error === null) void attempt(() => app.tasks.fetch(message));
  };
  return (
    <div class="result">
      <button type="button" class="unfold" aria-expanded={open} onClick={show}>
        {open ? `Hide ${what}` : `Show ${what}`}
      </button>
      {open && (
        <div class="md" dir="auto">
          {result !== null && <Markdown text={result} isName={isName} />}
          {error !== null && (
            <div class="error-text">
              <Markdown text={error} isName={isName} />
            </div>
          )}
          {result === null && error === null && <p class="hint">Reading…</p>}
        </div>
      )}
    </div>
  );
}

function Reassign({
  message,
  current,
  onClose,
}: {
  message: string;
  current: string | null;
  onClose: () => void;
}): VNode {
  const app = useApp();
  const others = app.people.value.filter((agent) => agent.id !== current);
  const [agent, setAgent] = useState(others[0]?.id ?? "");
  return (
    <Dialog label="Give this task to" onClose={onClose}>
      {others.length === 0 ? (
        <p class="hint">There is no other agent. Start one under Instances.</p>
      ) : (
        <form
          class="form"
          onSubmit={(event) => {
            event.preventDefault();
            void attempt(() => app.change({ type: "reassign", message, agent }), "Reassigned").then(
              (done) => done && onClose(),
            );
          }}
        >
          <Field label="Agent">
            <select value={agent} onChange={(event) => setAgent(event.currentTarget.value)}>
              {others.map((one) => (
                <option value={one.id}>
                  {one.name}
                  {one.connected ? "" : " (away)"}
                </option>
              ))}
            </select>
          </Field>
          <div class="panel-actions">
            <Button kind="primary" type="submit">
              Reassign
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
