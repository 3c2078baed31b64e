export type { ReleaseOptions } from './client.js'
export { LockserverClient } from './client.js'
export type { ErrorCode } from './contract.js'
export { CODES } from './contract.js'
export type { ErrorDetails, Holder, Rivals } from './errors.js'
export {
  ConfigInvalidError,
  ConnectionFailedError,
  DrainingError,
  IdUsedError,
  InternalError,
  InvalidRequestError,
  LimitMismatchError,
  LockedError,
  LockLostError,
  LockserverError,
  LockTimeoutError,
  MethodNotAllowedError,
  NoLeaderError,
  NotFoundError,
  NotHeldError,
  StorageFullError,
  StoreUnavailableError,
  TokenRequiredError,
  TooLargeError,
  TooManyLocksError,
  TooManyWaitersError,
  TooManyWrongSecretsError,
  UnauthorizedError,
} from './errors.js'
export { Lock } from './lock.js'
export type { AcquireOptions, LockMode, ScopeOptions } from './options.js'
export type { LockserverClientOptions, TlsOptions, TransportName } from './settings.js'
export type { LockEvent, MissedEvents, WatchOptions } from './watch.js'
