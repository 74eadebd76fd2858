/** The program (main.ts) as one CommonJS module, as text: the bundler puts it there. */
declare module 'wheelfix:program' {
  const text: string
  export default text
}
/** The first stage of it (front.ts), likewise. */
declare module 'wheelfix:front' {
  const text: string
  export default text
}
