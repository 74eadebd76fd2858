// A file system that loses its power: what changes of the file system leave on the disk. Names, sizes and links are there
// in their order; the bytes of a file are there once it was synced, and before that each page of 4 KiB may be there or not.
import {
  chmodSync,
  cpSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createHash } from 'node:crypto'
import { dirname, join } from 'node:path'

/** One change, as machine.cjs records it. */
export type Change =
  | {
      readonly op: 'open'
      readonly path: string
      readonly fd: number
      readonly creates: boolean
      readonly truncates: boolean
    }
  | { readonly op: 'close' | 'sync'; readonly fd: number }
  | { readonly op: 'write'; readonly fd: number; readonly offset: number; readonly bytes: string }
  | { readonly op: 'truncate'; readonly fd: number; readonly size: number }
  | { readonly op: 'file'; readonly path: string; readonly bytes: string }
  | { readonly op: 'rename' | 'link'; readonly from: string; readonly to: string }
  | { readonly op: 'symlink'; readonly target: string; readonly path: string }
  | { readonly op: 'folder' | 'remove'; readonly path: string }
  | { readonly op: 'mode'; readonly path: string; readonly mode: number }

export function readChanges(log: string): Change[] {
  return readFileSync(log, 'utf8')
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Change)
}

const PAGE = 4096

/** A page of bytes on its way to the disk: where in its file, and whether it lies behind what was there before. */
export interface Page {
  readonly offset: number
  readonly bytes: Buffer
}

/** Which pages reach the disk; `grows`: whether a file has its new size while its pages are lost. */
export interface Luck {
  readonly name: string
  readonly keeps: (page: Page) => boolean
  readonly grows: boolean
}

class Inode {
  durable: Buffer
  now: Buffer
  mode: number
  pending: Page[] = []
  /** The numbers of the pages that have a block on the disk. */
  private allocated = new Set<number>()

  constructor(bytes: Buffer, mode: number, isDurable: boolean) {
    this.now = bytes
    this.durable = isDurable ? bytes : Buffer.alloc(0)
    this.mode = mode
    if (isDurable) this.allocate()
    else this.pend(0, bytes)
  }

  private allocate(): void {
    for (let page = 0; page * PAGE < this.now.length; page++) this.allocated.add(page)
  }

  write(offset: number, bytes: Buffer): void {
    const size = Math.max(this.now.length, offset + bytes.length)
    const next = Buffer.alloc(size)
    this.now.copy(next)
    bytes.copy(next, offset)
    this.now = next
    this.pend(offset, bytes)
  }

  private pend(offset: number, bytes: Buffer): void {
    for (let at = offset; at < offset + bytes.length;) {
      const end = Math.min(offset + bytes.length, at - (at % PAGE) + PAGE)
      this.pending.push({ offset: at, bytes: bytes.subarray(at - offset, end - offset) })
      at = end
    }
  }

  truncate(size: number): void {
    const next = Buffer.alloc(size)
    this.now.copy(next, 0, 0, Math.min(size, this.now.length))
    this.now = next
    this.pending = this.pending
      .filter(({ offset }) => offset < size)
      .map(({ offset, bytes }) => ({ offset, bytes: bytes.subarray(0, size - offset) }))
    this.durable = this.durable.subarray(0, size)
    this.allocated = new Set([...this.allocated].filter(page => page * PAGE < size))
  }

  sync(): void {
    this.durable = this.now
    this.pending = []
    this.allocate()
  }

  /**
   * What ext4 does before a rename that replaces a file: it writes the pages that have no block yet. A page may get its
   * block at any time, and what is written over it later waits for nobody.
   */
  syncNew(): void {
    const later: Page[] = []
    const durable = Buffer.alloc(this.now.length)
    this.durable.copy(durable)
    for (const page of this.pending) {
      const number = Math.floor(page.offset / PAGE)
      if (this.allocated.has(number)) later.push(page)
      else page.bytes.copy(durable, page.offset)
      this.allocated.add(number)
    }
    this.durable = durable
    this.pending = later
  }

  fingerprint(): string {
    const bytes = [this.durable, this.now].map(content => createHash('sha256').update(content).digest('hex'))
    return `${bytes.join()} ${this.mode} ${this.pending.map(({ offset, bytes: { length } }) => `${offset}+${length}`).join()}`
  }

  after({ keeps, grows }: Luck): Buffer {
    const kept = this.pending.filter(page => keeps(page))
    const end = kept.reduce((most, { offset, bytes }) => Math.max(most, offset + bytes.length), this.durable.length)
    const result = Buffer.alloc(grows ? Math.max(this.now.length, end) : end)
    this.durable.copy(result)
    for (const { offset, bytes } of kept) bytes.copy(result, offset)
    return result.subarray(0, this.now.length)
  }
}

type Node = Inode | { readonly link: string } | 'folder'

/** The disk below `root`, whose present content is safe. */
export class Disk {
  private readonly names = new Map<string, Node>()
  private readonly open = new Map<number, Inode>()
  private readonly root: string
  private readonly ordered: boolean

  /** @param ordered a rename that replaces a file waits for its new pages, as on ext4 */
  constructor(root: string, ordered: boolean) {
    this.root = root
    this.ordered = ordered
    const inodes = new Map<bigint, Inode>()
    for (const path of pathsBelow(root)) {
      const status = lstatSync(path, { bigint: true })
      if (status.isSymbolicLink()) this.names.set(path, { link: readlinkSync(path) })
      else if (status.isDirectory()) this.names.set(path, 'folder')
      else {
        const inode = inodes.get(status.ino) ?? new Inode(readFileSync(path), Number(status.mode) & 0o7777, true)
        inodes.set(status.ino, inode)
        this.names.set(path, inode)
      }
    }
  }

  apply(change: Change): void {
    switch (change.op) {
      case 'open': {
        if (!this.names.has(change.path) && change.creates)
          this.names.set(change.path, new Inode(Buffer.alloc(0), 0o644, true))
        const node = this.names.get(change.path)
        if (!(node instanceof Inode)) return
        if (change.truncates) node.truncate(0)
        this.open.set(change.fd, node)
        return
      }
      case 'close':
        this.open.delete(change.fd)
        return
      case 'sync':
        this.open.get(change.fd)?.sync()
        return
      case 'write':
        this.open.get(change.fd)?.write(change.offset, Buffer.from(change.bytes, 'base64'))
        return
      case 'truncate':
        this.open.get(change.fd)?.truncate(change.size)
        return
      case 'file':
        this.names.set(change.path, new Inode(Buffer.from(change.bytes, 'base64'), 0o644, false))
        return
      case 'rename': {
        const node = this.names.get(change.from)
        if (node === undefined) throw new Error(`no ${change.from}`)
        if (this.ordered && node instanceof Inode && this.names.has(change.to)) node.syncNew()
        this.names.set(change.to, node)
        this.names.delete(change.from)
        return
      }
      case 'link': {
        const node = this.names.get(change.from)
        if (node !== undefined) this.names.set(change.to, node)
        return
      }
      case 'symlink':
        this.names.set(change.path, { link: change.target })
        return
      case 'folder':
        this.names.set(change.path, 'folder')
        return
      case 'mode': {
        const node = this.names.get(change.path)
        if (node instanceof Inode) node.mode = change.mode & 0o7777
        return
      }
      case 'remove':
        for (const name of this.names.keys()) {
          if (name === change.path || name.startsWith(`${change.path}/`)) this.names.delete(name)
        }
    }
  }

  /** What the disk holds, and what may be lost of it. */
  digest(): string {
    const hash = createHash('sha256')
    for (const [path, node] of [...this.names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      hash.update(`${path}\0`)
      if (node === 'folder') hash.update('folder')
      else if (!(node instanceof Inode)) hash.update(node.link)
      else hash.update(node.fingerprint())
    }
    return hash.digest('hex')
  }

  /** Is any byte not on the disk yet? */
  get isDirty(): boolean {
    return [...this.names.values()].some(node => node instanceof Inode && node.pending.length > 0)
  }

  /** Makes the folder what it is after the power came back. */
  materialize(luck: Luck): void {
    rmSync(this.root, { recursive: true, force: true })
    mkdirSync(this.root)
    const written = new Map<Inode, string>()
    for (const [path, node] of [...this.names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (node === 'folder') mkdirSync(path, { recursive: true })
      else if (!(node instanceof Inode)) symlinkSync(node.link, path)
      else {
        const other = written.get(node)
        mkdirSync(dirname(path), { recursive: true })
        if (other !== undefined) linkSync(other, path)
        else {
          writeFileSync(path, node.after(luck))
          chmodSync(path, node.mode)
          written.set(node, path)
        }
      }
    }
  }
}

/** Everything below a folder; links are not followed. */
function pathsBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? [path, ...pathsBelow(path)] : [path]
  })
}

/** Copies a folder over another, links, modes and times included. */
export function renew(template: string, folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  cpSync(template, folder, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
}
