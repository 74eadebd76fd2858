/** The program (main.ts) as one CommonJS module, in a string. The bundler puts it there. */
declare module 'wheelfix:program' {
  const text: string
  export default text
}
/** The first stage of the program (front.ts), in a string. */
declare module 'wheelfix:front' {
  const text: string
  export default text
}
