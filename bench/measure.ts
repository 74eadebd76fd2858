// The time and memory of one run of a program with all its children, as the kernel counts them.
import { runWell } from '../test/support/run.ts'

export interface Measure {
  readonly seconds: number
  /** User and system time of the program and its children. Other work on the machine hardly changes it. */
  readonly processorSeconds: number
  /** Peak memory of the largest process, among the program and its children. */
  readonly peakBytes: number
  readonly status: number
}

// the kernel reports the peak of children only to the parent that waits for them, and Node does not pass it on
const WAIT = `
import json, os, resource, subprocess, sys, time
start = time.monotonic()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
seconds = time.monotonic() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"seconds": seconds, "processorSeconds": usage.ru_utime + usage.ru_stime, "peakBytes": usage.ru_maxrss * 1024, "status": status}))`

/** Runs a program to its end and discards its output. */
export function measure(python: string, command: readonly string[], env: NodeJS.ProcessEnv): Measure {
  return JSON.parse(runWell(python, ['-I', '-S', '-c', WAIT, ...command], { env })) as Measure
}

/** The fastest of several runs, with the largest memory of all runs. */
export function best(runs: readonly Measure[]): Measure {
  return {
    seconds: Math.min(...runs.map(({ seconds }) => seconds)),
    processorSeconds: Math.min(...runs.map(({ processorSeconds }) => processorSeconds)),
    peakBytes: Math.max(...runs.map(({ peakBytes }) => peakBytes)),
    status: Math.max(...runs.map(({ status }) => status)),
  }
}

/** The median of each figure of several runs, with the largest memory of all runs. */
export function median(runs: readonly Measure[]): Measure {
  const middle = (select: (measure: Measure) => number): number =>
    runs.map(select).toSorted((a, b) => a - b)[Math.floor(runs.length / 2)] ?? 0
  return {
    seconds: middle(({ seconds }) => seconds),
    processorSeconds: middle(({ processorSeconds }) => processorSeconds),
    peakBytes: Math.max(...runs.map(({ peakBytes }) => peakBytes)),
    status: Math.max(...runs.map(({ status }) => status)),
  }
}
