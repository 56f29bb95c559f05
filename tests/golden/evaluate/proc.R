# Reference values for tests/evaluate/test_golden.py: R pROC (1.18.0) on its own aSAH data.
# Run: Rscript proc.R > proc.csv
suppressMessages(library(pROC))
data(aSAH)
y <- aSAH$outcome == "Poor"
cat("quantity,value\n")
say <- function(name, value) cat(sprintf("%s,%.10f\n", name, value))
rocs <- list()
for (m in c("wfns", "s100b", "ndka")) {
  r <- roc(y, aSAH[[m]], quiet = TRUE, direction = "<")
  rocs[[m]] <- r
  ci <- ci.auc(r, method = "delong")
  say(paste0("auc_", m), as.numeric(auc(r)))
  say(paste0("var_", m), var(r, method = "delong"))
  say(paste0("low_", m), ci[1])
  say(paste0("high_", m), ci[3])
}
for (pair in list(c("wfns", "s100b"), c("wfns", "ndka"))) {
  t <- roc.test(rocs[[pair[1]]], rocs[[pair[2]]], method = "delong", paired = TRUE)
  name <- paste(pair, collapse = "_")
  say(paste0("z_", name), t$statistic)
  say(paste0("p_", name), t$p.value)
  say(paste0("cov_", name), cov(rocs[[pair[1]]], rocs[[pair[2]]], method = "delong"))
}
