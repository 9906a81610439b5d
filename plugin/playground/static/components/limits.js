// What a form says about the limits of an input; who runs the workflow checks them again.

/** @typedef {import("./types").InputRow} InputRow @typedef {import("./types").Value} Value */

/** What a run uses when nothing is sent, as far as it is known. @param {InputRow} row @returns {Value} */
export function usedDefault(row) {
  return row.default_value ?? row.effective_default ?? null
}

/**
 * Whether a value is the workflow's own: its limits are for what callers send, and need not allow it.
 * @param {InputRow} row @param {Value} value
 */
export function isOwn(row, value) {
  return !row.is_required && value === usedDefault(row)
}

/** The limits in words, or an empty text. Choices show themselves. @param {InputRow} row */
export function described(row) {
  const { min, max, step, choices, min_length: shortest, max_length: longest } = row.validator_attrs ?? {}
  if (choices?.length) return ""
  const parts = [range(min, max, ""), range(shortest, longest, " characters")].filter(Boolean)
  if (step !== undefined && step !== 1) parts.push(`in steps of ${step}`)
  const text = parts.join(", ")
  return text && `${text[0].toUpperCase()}${text.slice(1)}.`
}

/** @param {number | undefined} least @param {number | undefined} most @param {string} unit */
function range(least, most, unit) {
  if (least !== undefined && most !== undefined) return `${least} to ${most}${unit}`
  if (least !== undefined) return `at least ${least}${unit}`
  return most === undefined ? "" : `at most ${most}${unit}`
}

/**
 * What is wrong with a value, or an empty text.
 * @param {InputRow} row @param {string | number} value
 */
export function limitProblem(row, value) {
  const { min, max, step, choices, min_length: shortest = 0, max_length: longest = Infinity } = row.validator_attrs ?? {}
  if (choices?.length) return choices.includes(value) ? "" : "Choose one of the list."
  if (typeof value === "string") {
    const length = [...value].length
    return length < shortest || length > longest ? described(row) : ""
  }
  if ((min !== undefined && value < min) || (max !== undefined && value > max)) return described(row)
  // Seeds beyond what a JavaScript number holds are left to the server; so are steps of decimals.
  const stepped = row.variable_type_code === "int" && step && Number.isSafeInteger(value)
  return stepped && (value - (min ?? 0)) % step !== 0 ? described(row) : ""
}
