// A diff by lines: what Myers' algorithm finds (An O(ND) Difference Algorithm, 1986), within a bound.

export interface Line {
  kind: "same" | "added" | "removed";
  text: string;
}

const STEPS = 1_000; // more differences than this are shown as all removed, then all added

/** The lines of both texts in the order of a unified diff. Joining what is not added gives `before`, and so on. */
export function diffLines(before: string, after: string): Line[] {
  const old = before === "" ? [] : before.split("\n");
  const fresh = after === "" ? [] : after.split("\n");
  let head = 0;
  while (head < old.length && head < fresh.length && old[head] === fresh[head]) head += 1;
  let tail = 0;
  while (
    tail < old.length - head &&
    tail < fresh.length - head &&
    old[old.length - 1 - tail] === fresh[fresh.length - 1 - tail]
  ) {
    tail += 1;
  }
  const middle = between(old.slice(head, old.length - tail), fresh.slice(head, fresh.length - tail));
  return [...same(old.slice(0, head)), ...middle, ...same(old.slice(old.length - tail))];
}

const same = (lines: string[]): Line[] => lines.map((text) => ({ kind: "same", text }));
const removed = (lines: string[]): Line[] => lines.map((text) => ({ kind: "removed", text }));
const added = (lines: string[]): Line[] => lines.map((text) => ({ kind: "added", text }));

function between(old: string[], fresh: string[]): Line[] {
  const trace = search(old, fresh);
  return trace === null ? [...removed(old), ...added(fresh)] : follow(trace, old, fresh);
}

/** The furthest reaching points for each number of differences, or null beyond the bound. */
function search(old: string[], fresh: string[]): Map<number, number>[] | null {
  let furthest = new Map<number, number>([[1, 0]]);
  const trace: Map<number, number>[] = [];
  for (let steps = 0; steps <= Math.min(old.length + fresh.length, STEPS); steps += 1) {
    trace.push(new Map(furthest));
    const next = new Map(furthest);
    for (let diagonal = -steps; diagonal <= steps; diagonal += 2) {
      const below = furthest.get(diagonal + 1) ?? -1;
      const left = furthest.get(diagonal - 1) ?? -1;
      let x = diagonal === -steps || (diagonal !== steps && left < below) ? below : left + 1;
      while (x < old.length && x - diagonal < fresh.length && old[x] === fresh[x - diagonal]) x += 1;
      next.set(diagonal, x);
      if (x >= old.length && x - diagonal >= fresh.length) return trace;
    }
    furthest = next;
  }
  return null;
}

function follow(trace: Map<number, number>[], old: string[], fresh: string[]): Line[] {
  const lines: Line[] = [];
  let x = old.length;
  let y = fresh.length;
  for (let steps = trace.length - 1; steps >= 0; steps -= 1) {
    const furthest = trace[steps] ?? new Map<number, number>();
    const diagonal = x - y;
    const below = furthest.get(diagonal + 1) ?? -1;
    const left = furthest.get(diagonal - 1) ?? -1;
    const down = diagonal === -steps || (diagonal !== steps && left < below);
    const fromX = steps === 0 ? 0 : down ? below : left;
    const fromY = steps === 0 ? 0 : fromX - (down ? diagonal + 1 : diagonal - 1);
    while (x > fromX && y > fromY && old[x - 1] === fresh[y - 1]) {
      lines.push({ kind: "same", text: old[x - 1] ?? "" });
      x -= 1;
      y -= 1;
    }
    if (steps === 0) break;
    if (down) lines.push({ kind: "added", text: fresh[y - 1] ?? "" });
    else lines.push({ kind: "removed", text: old[x - 1] ?? "" });
    x = fromX;
    y = fromY;
  }
  return lines.reverse();
}
