export function machineCeilings(_threads: number): string[] { return []; }
