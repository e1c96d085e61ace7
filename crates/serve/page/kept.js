// What this browser keeps: JSON under names that begin with "crayon.". Nothing of it is sent anywhere by being kept.

export const kept = {
  read(name, otherwise) {
    try {
      const text = localStorage.getItem(name);
      return text === null ? otherwise : JSON.parse(text);
    } catch {
      return otherwise;
    }
  },

  /** Whether there was room. */
  write(name, value) {
    try {
      localStorage.setItem(name, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  },

  remove(name) {
    try {
      localStorage.removeItem(name);
    } catch {
      // Nothing was kept, then.
    }
  },

  names(prefix) {
    try {
      return Object.keys(localStorage).filter((name) => name.startsWith(prefix));
    } catch {
      return [];
    }
  },
};
