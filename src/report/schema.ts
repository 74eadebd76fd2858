/** The name of the schema of every JSON document. Programs rely on it: new fields may come, existing ones never change. */
export const SCHEMA = 'wheelfix/1'
