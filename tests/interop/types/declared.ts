// What index.d.ts declares is what retrieval.js exports: each of these lines is an error of the compiler where it is not.

import type * as declared from './dapp/index.d.ts'
import * as written from './dapp/retrieval.js'

written satisfies typeof declared

export type Forgotten = Exclude<keyof typeof written, keyof typeof declared>
export const nothingIsForgotten: [Forgotten] extends [never] ? true : Forgotten = true
