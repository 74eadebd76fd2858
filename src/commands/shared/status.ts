/** 0: no problems. 1: something that counts is missing, unpatched or refused; the rest is done. 2: nothing could be done. */
export type ExitStatus = 0 | 1 | 2
