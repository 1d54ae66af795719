// The registered projects, who works in each, and a way to start another session there.

import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { ProjectView } from "../protocol";
import { attempt, toast } from "../store/toasts";
import { useApp } from "../ui/context";
import { Avatar, Button, Chip, Command, Empty, Foreign } from "../ui/parts";

export function InstancesView(): VNode {
  const app = useApp();
  const hub = app.hub.value;
  const projects = hub?.projects ?? [];
  return (
    <section class="page" aria-label="Instances">
      <header class="bar">
        <h1>Instances</h1>
        <p class="hint">
          {hub?.launches ? (
            <>
              new sessions start <Foreign text={hub.launches} />
            </>
          ) : (
            ""
          )}
        </p>
      </header>
      <div class="scroll" tabIndex={0} role="region" aria-label="Projects">
        {hub !== null && hub.launches === null && (
          <div class="notice">
            <p>
              Sessions cannot be started from here yet: install <code>tmux</code>, or say how to open a terminal:
            </p>
            <Command text="crosschat launch set -- COMMAND…" />
          </div>
        )}
        {projects.length === 0 && (
          <Empty icon="folder" title="No project is registered">
            <p>A directory is registered by itself when an agent works in it. You can also add one below.</p>
          </Empty>
        )}
        <ul class="projects">
          {projects.map((project) => (
            <Project key={project.id} project={project} />
          ))}
        </ul>
        <AddProject />
      </div>
    </section>
  );
}

function Project({ project }: { project: ProjectView }): VNode {
  const app = useApp();
  const [name, setName] = useState("");
  const [starting, setStarting] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const agents = project.agents.flatMap((id) => app.peopleById.value.get(id) ?? []);
  const launch = async (): Promise<void> => {
    setStarting(true);
    setProblem(null);
    try {
      const { where } = await app.launch(project.id, name.trim());
      toast(`Started: ${where}`, "good");
      setName("");
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      setStarting(false);
    }
  };
  const cannot = !project.exists
    ? "The directory is not there any more."
    : app.hub.value?.launches
      ? starting
        ? "It is starting."
        : null
      : "No way to start sessions is known.";
  return (
    <li class="project" data-project={project.id}>
      <div class="project-main">
        <h2>
          <Foreign text={project.name} />
          {!project.exists && <Chip tone="bad">not there</Chip>}
          {project.automatic && (
            <Chip tone="quiet" title="registered because an agent worked there">
              automatic
            </Chip>
          )}
        </h2>
        <p class="meta">
          <Foreign text={project.path} class="path" />
        </p>
        <p class="meta">
          {agents.length === 0 && <span>nobody works here</span>}
          {agents.map((agent) => (
            <span class="mini-agent">
              <Avatar name={agent.name} small />
              <Foreign text={agent.name} />
            </span>
          ))}
        </p>
        {problem !== null && (
          <p class="alarm" role="alert">
            <Foreign text={problem} />
          </p>
        )}
      </div>
      <form
        class="project-launch"
        onSubmit={(event) => {
          event.preventDefault();
          if (cannot === null) void launch();
        }}
      >
        <input
          aria-label={`Name of the new session in ${project.name}`}
          placeholder="name (optional)"
          value={name}
          maxLength={64}
          pattern="[A-Za-z0-9][A-Za-z0-9._\-]{0,63}"
          title="letters, digits, dot, dash and underscore"
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <Button kind="primary" type="submit" icon="play" blocked={cannot}>
          Start a session
        </Button>
        <Button
          kind="ghost"
          small
          onClick={() =>
            void attempt(() => app.link.ask({ type: "project", project: project.id }), "Removed from the list")
          }
        >
          Remove
        </Button>
      </form>
    </li>
  );
}

function AddProject(): VNode {
  const app = useApp();
  const [path, setPath] = useState("");
  return (
    <form
      class="add-project"
      onSubmit={(event) => {
        event.preventDefault();
        void attempt(() => app.link.ask({ type: "project", path }), "Added").then((done) => done && setPath(""));
      }}
    >
      <input
        aria-label="Directory to add"
        placeholder="/home/you/project"
        value={path}
        dir="ltr"
        onInput={(event) => setPath(event.currentTarget.value)}
      />
      <Button
        type="submit"
        icon="plus"
        blocked={path.startsWith("/") || path.startsWith("~") ? null : "Give the whole path of a directory."}
      >
        Add a directory
      </Button>
    </form>
  );
}
