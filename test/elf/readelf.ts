// What readelf says of a file, as data, to compare with what wheelfix reads. readelf -W prints every number in full.
import { run } from '../support/run.ts'

export interface ReadelfHeader {
  readonly class: number
  readonly byteOrder: string
  readonly entry: bigint
  readonly phoff: number
  readonly shoff: number
  readonly flags: number
  readonly phnum: number
  readonly shnum: number
  readonly shstrndx: number
}

export interface ReadelfSegment {
  readonly type: string
  readonly offset: number
  readonly vaddr: bigint
  readonly paddr: bigint
  readonly filesz: number
  readonly memsz: bigint
  readonly flags: string
  readonly align: bigint
}

export interface ReadelfFile {
  readonly header: ReadelfHeader
  readonly segments: readonly ReadelfSegment[]
  /** d_tag and what readelf says of its value. */
  readonly dynamic: readonly { readonly tag: bigint; readonly text: string }[]
  readonly interpreter: string | null
  readonly sections: readonly string[]
  /** The versions needed, by file, and the versions defined, the base left out. */
  readonly versionNeeds: readonly { readonly file: string; readonly versions: readonly string[] }[]
  readonly versionDefinitions: readonly string[]
  readonly stderr: string
}

/** Reads a file by `readelf -hlSdVW`. */
export function readelf(path: string): ReadelfFile {
  const { stdout, stderr } = run('readelf', ['-hlSdVW', path], { env: { PATH: process.env['PATH'], LC_ALL: 'C' } })
  const lines = stdout.split('\n')
  const field = (name: string): string =>
    lines
      .find(line => line.trim().startsWith(`${name}:`))
      ?.split(':')
      .slice(1)
      .join(':')
      .trim() ?? ''
  // “0 (25)”: the true number stands in section 0
  const number = (name: string): number => Number(/\((\d+)\)/.exec(field(name))?.[1] ?? field(name).split(' ')[0])
  const segment =
    /^ {2}(\S+)\s+0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+) 0x([0-9a-f]+) (.{3}) (?:0x)?([0-9a-f]+)$/
  return {
    header: {
      class: field('Class') === 'ELF64' ? 64 : 32,
      byteOrder: field('Data').includes('little') ? 'little' : 'big',
      entry: BigInt(field('Entry point address') || 0),
      phoff: number('Start of program headers'),
      shoff: number('Start of section headers'),
      flags: Number(field('Flags').split(',')[0]),
      phnum: number('Number of program headers'),
      shnum: number('Number of section headers'),
      shstrndx: number('Section header string table index'),
    },
    segments: lines.flatMap((line): ReadelfSegment[] => {
      const [, type = '', offset, vaddr, paddr, filesz, memsz, flags = '', align] = segment.exec(line) ?? []
      if (type === '') return []
      const big = (text: string | undefined): bigint => BigInt(`0x${text}`)
      return [
        {
          type,
          offset: Number(big(offset)),
          vaddr: big(vaddr),
          paddr: big(paddr),
          filesz: Number(big(filesz)),
          memsz: big(memsz),
          flags: flags.replaceAll(' ', '').replace('E', 'X'),
          align: big(align),
        },
      ]
    }),
    dynamic: lines.flatMap(line => {
      const [, tag, text = ''] = /^ 0x([0-9a-f]{8,16}) \([^)]*\)\s+(.*)$/.exec(line) ?? []
      return tag === undefined ? [] : [{ tag: BigInt(`0x${tag}`), text: text.trim() }]
    }),
    interpreter: /\[Requesting program interpreter: (.*)\]/.exec(stdout)?.[1] ?? null,
    sections: lines.filter(line => /^ {2}\[ *\d+\] /.test(line)),
    ...versionsOf(lines),
    stderr,
  }
}

function versionsOf(lines: readonly string[]): Pick<ReadelfFile, 'versionNeeds' | 'versionDefinitions'> {
  const versionNeeds: { file: string; versions: string[] }[] = []
  const versionDefinitions: string[] = []
  let part = ''
  for (const line of lines) {
    if (/^Version (needs|definition|symbols) section/.test(line)) part = line
    else if (line === '') part = ''
    else if (part.startsWith('Version needs')) {
      const file = /Version: \d+ {2}File: (.*) {2}Cnt: \d+$/.exec(line)?.[1]
      if (file !== undefined) versionNeeds.push({ file, versions: [] })
      const name = / Name: (.*) {2}Flags: /.exec(line)?.[1]
      if (name !== undefined) versionNeeds.at(-1)?.versions.push(name)
    } else if (part.startsWith('Version definition')) {
      const [, flags, name] = /Rev: \d+ {2}Flags: (.*?) {2}Index: \d+ {2}Cnt: \d+ {2}Name: (.*)$/.exec(line) ?? []
      if (name !== undefined && flags?.includes('BASE') !== true) versionDefinitions.push(name)
    }
  }
  return { versionNeeds, versionDefinitions }
}
