import { S3Client } from '@aws-sdk/client-s3';
import type { S3Config } from './s3-config.js';

/** Each of these would be looked for in AWS_… and ~/.aws if it were not given. */
export function s3Client({ endpoint, region, accessKeyId, secretAccessKey, pathStyle }: S3Config): S3Client {
  return new S3Client({
    region, credentials: { accessKeyId, secretAccessKey }, forcePathStyle: pathStyle, ...(endpoint === undefined ? { ignoreConfiguredEndpointUrls: true } : { endpoint }),
    maxAttempts: 3, retryMode: 'standard', defaultsMode: 'standard', useFipsEndpoint: false, useDualstackEndpoint: false, useArnRegion: false, disableMultiregionAccessPoints: true, disableS3ExpressSessionAuth: true,
    // The signature covers the sha256 of every part already, and older servers know no other sum.
    requestChecksumCalculation: 'WHEN_REQUIRED', responseChecksumValidation: 'WHEN_REQUIRED', authSchemePreference: [], userAgentAppId: 'weft',
    requestHandler: { connectionTimeout: 3000, requestTimeout: 60_000, throwOnRequestTimeout: true },
  });
}
