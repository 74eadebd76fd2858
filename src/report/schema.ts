/** The name of the shape of every JSON document; programs rely on it: fields are added, never changed. */
export const SCHEMA = 'wheelfix/1'
