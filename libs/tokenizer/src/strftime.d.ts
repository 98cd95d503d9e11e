export declare function strftime(date: Date, format: string): string;
