// A thread beside the chat: its first message, the task it may be, all replies, and a place to answer.

import type { VNode } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { Item, PageFrame } from "../protocol";
import { threadOf } from "../store/timeline";
import { useApp } from "../ui/context";
import { IconButton } from "../ui/parts";
import { Windowed } from "../ui/windowed";
import { Composer, focusComposer } from "./composer";
import { MessageRow } from "./message";
import { together, useElements, useMoves } from "./run";
import { TaskCard } from "./tasks";

export function Thread({ root, target, onClose }: { root: string; target: string | null; onClose: () => void }): VNode {
  const app = useApp();
  const timeline = useMemo(() => app.follow(threadOf(root)), [root]);
  const elements = useElements();
  const { handle, seek, toEnd } = useMoves(timeline);
  useEffect(() => {
    void app.link
      .ask<PageFrame>({ type: "read", message: root })
      .then((page) => page.items[0]?.task && app.tasks.take(page.items[0]))
      .catch(() => undefined);
    return () => app.unfollow(timeline);
  }, [timeline]);
  useEffect(() => {
    focusComposer.value = { thread: root, text: "" };
  }, [root]);
  useEffect(() => {
    if (target !== null && target !== root) seek(target);
    else if (timeline.loading.value === "first") void timeline.load();
  }, [timeline, target]);
  const items = timeline.items.value;
  const first = items[0]?.message === root ? items[0] : undefined;
  const headed = (index: number): boolean => {
    const [before, item] = [items[index - 1], items[index]];
    return before === undefined || before === first || item === undefined || !together(before, item);
  };
  const task = app.tasks.byId.value.get(root);
  return (
    <aside class="thread" aria-label="Thread">
      <header class="bar">
        <h2>Thread</h2>
        <IconButton icon="close" label="Close the thread" onClick={onClose} />
      </header>
      {timeline.problem.value !== null && <p class="alarm">{timeline.problem.value}</p>}
      <Windowed
        rows={items}
        keyOf={(item: Item) => item.message}
        handle={handle}
        label="Replies"
        nearStart={() => void timeline.loadEarlier()}
        nearEnd={() => void timeline.loadLater()}
        before={task !== undefined && <TaskCard task={task} inThread />}
        after={<div class="tail" />}
        elementsOf={(item, index, tight) => elements(item, headed(index), tight)}
        render={(item, index, tight) => {
          return (
            <>
              <MessageRow item={item} inThread tight={tight} active={item.message === target} head={headed(index)} />
              {item === first && (
                <p class="replies-count">
                  {item.replies === 0 ? "No reply yet" : item.replies === 1 ? "1 reply" : `${item.replies} replies`}
                </p>
              )}
            </>
          );
        }}
      />
      <Composer thread={root} onSent={toEnd} />
    </aside>
  );
}
