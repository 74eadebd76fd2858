/** The first stage of the program (front.ts) as one CommonJS module, in a string. The bundler puts it there. */
declare module 'wheelfix:front' {
  const text: string
  export default text
}
