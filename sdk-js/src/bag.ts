/**
 * Members in no order, each of which knows its place. A `Set` through which much passes leaves a chain of its old tables, and with
 * them all that was in it stays alive until a full garbage collection: that costs more than a request does.
 */
export class Bag<T extends { place: number }> implements Iterable<T> {
  readonly #members: T[] = []

  add(member: T): void {
    member.place = this.#members.push(member) - 1
  }

  delete(member: T): void {
    const last = this.#members.pop() as T
    if (last === member) return
    last.place = member.place
    this.#members[last.place] = last
  }

  [Symbol.iterator](): Iterator<T> {
    return [...this.#members].values()
  }
}
