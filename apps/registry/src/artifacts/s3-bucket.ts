/** The bucket itself. */
import { CreateBucketCommand, HeadBucketCommand, S3ServiceException } from '@aws-sdk/client-s3';
import { s3Client } from './s3-client.js';
import type { S3Config } from './s3-config.js';
import { storeError, told } from './s3-errors.js';

/** Makes it where it is not there. Throws as the store does. */
export async function ensureBucket(config: S3Config): Promise<void> {
  const client = s3Client(config);
  const Bucket = config.bucket;
  try {
    await client.send(new HeadBucketCommand({ Bucket }));
  } catch (error) {
    if (!(error instanceof S3ServiceException) || error.$metadata.httpStatusCode !== 404) throw storeError(error);
    // The usual region has no name there.
    await told(client.send(new CreateBucketCommand({ Bucket, ...(config.endpoint === undefined && config.region !== 'us-east-1' && { CreateBucketConfiguration: { LocationConstraint: config.region as 'eu-west-1' } }) })));
  } finally {
    client.destroy();
  }
}
