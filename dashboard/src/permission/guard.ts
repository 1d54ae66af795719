// Nobody allows anything by accident: not what has only just appeared, and not what was not there to be read to its end.

import { useEffect, useRef, useState } from "preact/hooks";

const APPEARED_MS = 500;

interface Guard {
  /** Put at the end of the input. */
  end: { current: HTMLDivElement | null };
  /** Why it cannot be allowed yet, or null. */
  reason: string | null;
}

/** Both conditions begin anew with each request: the component that uses this is keyed by the request's id. */
export function useGuard(): Guard {
  const end = useRef<HTMLDivElement>(null);
  const [settled, setSettled] = useState(false);
  const [reached, setReached] = useState(false);

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const wait = (): void => {
      clearTimeout(timer);
      if (!document.hidden) timer = setTimeout(() => setSettled(true), APPEARED_MS);
    };
    wait();
    document.addEventListener("visibilitychange", wait); // what appeared behind another tab appears with it
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wait);
    };
  }, []);

  useEffect(() => {
    const element = end.current;
    if (element === null) return;
    const watch = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting) && !document.hidden) setReached(true);
    });
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  const reason = !reached ? "Read it to its end first." : !settled ? "It has only just appeared." : null;
  return { end, reason };
}
